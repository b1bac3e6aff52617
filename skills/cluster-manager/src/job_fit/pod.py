"""What one pod of a job asks for: from the job file, the instance table, and what the nodes have to give.

The rule of `auto`: a job that takes all accelerators of a node gets the whole node, which is allocatable minus what stays on it
whatever jobs do (DaemonSets, static pods, pods of a system priority); the least of the eligible nodes counts. A job that takes a
part of the accelerators gets that part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from cluster_amounts import Amounts, amount, written
from cluster_nodes import Machine
from trainyard_instances import EFA, InstanceType
from trainyard_job import Limits

from job_fit.job import Job

CPU_A_PROCESS, MEMORY_A_PROCESS = 250, 1 << 30
"""Thousandths of a CPU and bytes that a process without accelerator asks for when the file says nothing: room to try things out."""
UNSEEN = 0.9
"""Of the table's numbers, where no node can be looked at: kubelet and system keep 3 to 8 percent on the types in it."""


@dataclass(frozen=True)
class PodPlan:
    """Counts as in Amounts: thousandths of a CPU, bytes, pieces."""

    procs: int
    cpu: int
    memory: int
    shm: int
    gpus: int
    gpu_resource: str | None
    efa: int

    def requests(self) -> Amounts:
        devices = {self.gpu_resource: self.gpus} if self.gpu_resource else {}
        return {"cpu": self.cpu, "memory": self.memory, **devices, **({EFA: self.efa} if self.efa else {})}

    def as_json(self) -> dict[str, Any]:
        """What `create` is given."""
        return {
            "cpu": written("cpu", self.cpu),
            "memory": written("memory", self.memory),
            "gpus": self.gpus,
            "gpu_resource": self.gpu_resource,
            "efa": self.efa,
            "shm": written("memory", self.shm),
        }


def plan_pod(job: Job, kind: InstanceType | None, eligible: Sequence[Machine]) -> PodPlan:
    """Raises SkillError usage: more processes than the instance type has accelerators."""
    devices, procs = devices_asked(job, kind)
    share = devices / kind.accelerators if kind else 0.0
    asked = job.resources
    limits = asked.limits or Limits()
    cpu, memory = (
        amount(key, given) if given != "auto" else _within(key, limit, _auto(key, kind, share, procs, eligible))
        for key, given, limit in (("cpu", asked.cpu, limits.cpu), ("memory", asked.memory, limits.memory))
    )
    return PodPlan(
        procs=procs,
        cpu=cpu,
        memory=memory,
        # /dev/shm is memory of the pod: with all of it, workers that fill it would have the pod killed.
        shm=amount("memory", asked.shm) if asked.shm != "auto" else max(1 << 20, _down(memory // 2, 1 << 20)),
        gpus=devices,
        gpu_resource=kind.resource if kind else None,
        efa=_efa(job, kind, share, eligible),
    )


def devices_asked(job: Job, kind: InstanceType | None) -> tuple[int, int]:
    """(devices, processes) of one pod: one process a device, or a core where a device has several. Raises SkillError usage."""
    asked = 0 if job.request.procs_per_node == "auto" else job.request.procs_per_node
    if kind is None:
        return 0, asked or 1
    most = kind.accelerators * kind.cores
    procs = asked or most
    if procs > most:
        message = f"procs_per_node is {procs}, a {kind.name} has {kind.accelerators} {kind.accelerator} for {most} processes"
        raise shell.SkillError("usage", message, hint=f"procs_per_node: at most {most}, and more nodes")
    return -(-procs // kind.cores), procs


def _auto(resource: str, kind: InstanceType | None, share: float, procs: int, eligible: Sequence[Machine]) -> int:
    if kind is None:
        return procs * (CPU_A_PROCESS if resource == "cpu" else MEMORY_A_PROCESS)
    step = 100 if resource == "cpu" else 1 << 20
    whole = [machine.whole(resource) for machine in eligible]
    by_table = kind.vcpu * 1000 if resource == "cpu" else kind.memory_gib << 30
    return max(step, _down(int((min(whole) if whole else by_table * UNSEEN) * share), step))


def _within(resource: str, limit: str | None, count: int) -> int:
    """What is asked for is at most what is allowed."""
    return count if limit is None else min(count, amount(resource, limit))


def _down(count: int, step: int) -> int:
    return count - count % step


def _efa(job: Job, kind: InstanceType | None, share: float, eligible: Sequence[Machine]) -> int:
    """`auto`: for several nodes, where any of them offers EFA; one node has nobody to talk to."""
    if kind is None or not kind.efa or job.request.network == "tcp":
        return 0
    offered = not eligible or any(machine.allocatable.get(EFA, 0) for machine in eligible)
    wanted = job.request.network == "efa" or (job.request.nodes > 1 and offered)
    return max(1, int(kind.efa * share)) if wanted else 0
