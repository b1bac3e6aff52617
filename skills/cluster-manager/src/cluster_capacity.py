"""What is free for jobs, by instance type and zone: only what the scheduler would give out."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_amounts import written
from cluster_nodes import Machine, Machines, read_machines
from trainyard_instances import DEVICES, EFA, known_type
from job_fit.rules import PodWants, why_not


def get_cluster_capacity(
    cluster: kube.Cluster, selector: dict[str, str], tolerations: Sequence[dict[str, Any]]
) -> shell.Result:
    """Free nodes and accelerators; `held_back` counts the nodes that take no pod, with the reason.

    Exit 1 only where nodes or pods may not be listed: then nothing is known, and no number is given.
    """
    refused: list[shell.Check] = []
    with kube.noted("capacity.nodes", refused):
        machines = read_machines(cluster)
    if refused:
        return shell.Result({"cluster": cluster.identity()}, refused)
    chosen = [one for one in machines.all if all(one.labels.get(key) == value for key, value in selector.items())]
    wants = PodWants({}, tolerations=tuple(tolerations))
    return shell.Result(_data(cluster, machines, chosen, wants), [_check(chosen, wants)])


def _data(cluster: kube.Cluster, machines: Machines, chosen: list[Machine], wants: PodWants) -> dict[str, Any]:
    groups: dict[tuple[str, str], list[Machine]] = defaultdict(list)
    for one in chosen:
        groups[one.instance_type or "-", one.zone or "-"].append(one)
    held_back = Counter(reason for one in chosen if (reason := why_not(wants, one)))
    return {
        "nodes": len(chosen),
        "schedulable": len(chosen) - held_back.total(),
        "held_back": [{"nodes": count, "reason": reason} for reason, count in held_back.most_common()],
        "groups": [_group(*key, group, wants) for key, group in sorted(groups.items())],
        "waiting_pods": machines.waiting_pods,
        "cluster": cluster.identity(),
    }


def _group(instance_type: str, zone: str, machines: list[Machine], wants: PodWants) -> dict[str, Any]:
    """One row: the nodes of a type in a zone. Free is counted on schedulable nodes only."""
    open_ = [one for one in machines if why_not(wants, one) is None]
    device = _device(instance_type, machines)
    return {
        "instance_type": instance_type,
        "zone": zone,
        "nodes": len(machines),
        "schedulable": len(open_),
        "free_whole_nodes": sum(is_free(one, device) for one in open_),
        "accelerator": device,
        "accelerators": sum(one.allocatable.get(device, 0) for one in machines) if device else 0,
        "free_accelerators": _free(open_, device) if device else 0,
        "free_efa": _free(open_, EFA),
        "free_cpu": written("cpu", _free(open_, "cpu")),
        "free_memory": f"{_free(open_, 'memory') >> 30}Gi",
    }


def _free(machines: Sequence[Machine], resource: str) -> int:
    return sum(max(0, one.free(resource)) for one in machines)


def _device(instance_type: str, machines: Sequence[Machine]) -> str | None:
    """The resource of the accelerators: by the table, else whichever the nodes offer."""
    kind = known_type(instance_type)
    if kind:
        return kind.resource
    return next((name for name in DEVICES.values() if any(name in one.allocatable for one in machines)), None)


def is_free(machine: Machine, device: str | None) -> bool:
    """Whether a job can have the whole node: no accelerator is taken; without accelerators: nothing but the system runs there."""
    if device and machine.allocatable.get(device, 0):
        return machine.used.get(device, 0) == 0
    return not device and machine.used == machine.system


def _check(chosen: Sequence[Machine], wants: PodWants) -> shell.Check:
    if not chosen:
        return shell.Check("capacity.nodes", "warn", "no node has these labels", None, "kubectl get nodes --show-labels")
    held = sum(why_not(wants, one) is not None for one in chosen)
    if held == len(chosen):
        fix = "--toleration with the taints that held_back names; fix uncordon NODE"
        return shell.Check("capacity.nodes", "warn", f"none of {held} nodes takes a pod", None, fix)
    return shell.Check("capacity.nodes", "pass", f"{len(chosen) - held} of {len(chosen)} nodes take pods")


def toleration_of(text: str) -> dict[str, Any]:
    """A toleration as JSON. Raises SkillError usage."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _wrong(text) from error
    if not isinstance(value, dict):
        raise _wrong(text)
    return value


def _wrong(text: str) -> shell.SkillError:
    example = '{"key": "nvidia.com/gpu", "operator": "Exists"}'
    return shell.SkillError("usage", f"{shell.clean(text, 80)!r} is no toleration", hint=f"as JSON: {example}")


def label_of(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise shell.SkillError("usage", f"{shell.clean(text, 80)!r} is no label", hint="KEY=VALUE")
    return key, value
