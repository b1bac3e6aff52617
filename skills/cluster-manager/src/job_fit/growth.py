"""Clusters that grow: who would add nodes for pods that do not fit now, and why the others would not.

What a new node would be is asked of the same rules as the nodes that are there. That an autoscaler may add nodes is no promise: the
cloud may have none, so a job that waits for them is told, and `status` says what becomes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import trainyard_shell as shell
from cluster_amounts import Amounts
from cluster_nodes import Machine, Machines
from trainyard_instances import EFA, InstanceType

from job_fit.rules import PodWants, room

RESERVED = 0.9
"""Of a type's CPU and memory, what pods get of a new node at least: kubelet and system keep 3 to 8 percent."""


@dataclass(frozen=True)
class Wanted:
    """The pods that find no node now."""

    pods: PodWants
    short: int
    kind: InstanceType | None
    """The type that the job names."""
    machines: Machines


@dataclass
class Growth:
    """In words: who may add nodes, and who is there and would not."""

    may: list[str] = field(default_factory=list)
    would_not: list[str] = field(default_factory=list)
    unknown: list[shell.Check] = field(default_factory=list)
    """What may not be read: nobody knows whether nodes would come."""

    def __iadd__(self, other: Growth) -> Growth:
        return Growth(self.may + other.may, self.would_not + other.would_not, self.unknown + other.unknown)


def offered_by(kind: InstanceType) -> Amounts:
    """Of a new node of that type."""
    efa = {EFA: kind.efa} if kind.efa else {}
    cpu, memory = int(kind.vcpu * 1000 * RESERVED), int((kind.memory_gib << 30) * RESERVED)
    return {"cpu": cpu, "memory": memory, "pods": 110, "ephemeral-storage": 1 << 60, kind.resource: kind.accelerators, **efa}


def pods_a_node(wants: PodWants, offered: Amounts) -> int:
    return room(wants, Machine("new", {}, [], cordoned=False, ready=True, allocatable=offered))
