"""What is free for jobs, by instance type and zone: only what the scheduler would give out."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_amounts import written
from cluster_devices import WHOLE, Devices, is_accelerator
from cluster_nodes import Machine, Machines, read_machines
from trainyard_instances import EFA, known_type
from job_fit.rules import PodWants, against

MAX_NAMED = 5


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
    return shell.Result(_data(cluster, machines, chosen, wants), [_check(chosen, wants), *_short(chosen)])


def _data(cluster: kube.Cluster, machines: Machines, chosen: list[Machine], wants: PodWants) -> dict[str, Any]:
    groups: dict[tuple[str, str], list[Machine]] = defaultdict(list)
    for one in chosen:
        groups[one.instance_type or "-", one.zone or "-"].append(one)
    held_back = Counter(reason for one in chosen for reason in against(wants, one))
    return {
        "nodes": len(chosen),
        "schedulable": sum(not against(wants, one) for one in chosen),
        "held_back": [{"nodes": count, "reason": reason} for reason, count in held_back.most_common()],
        "groups": [_group(*key, group, wants) for key, group in sorted(groups.items())],
        "devices": [row for key, group in sorted(groups.items()) for row in _devices(*key, group, wants)],
        "waiting_pods": machines.waiting_pods,
        "cluster": cluster.identity(),
    }


def _group(instance_type: str, zone: str, machines: list[Machine], wants: PodWants) -> dict[str, Any]:
    """One row: the nodes of a type in a zone. Free is counted on schedulable nodes only, accelerators where they are whole ones."""
    open_ = [one for one in machines if not against(wants, one)]
    device = _device(instance_type, machines)
    return {
        "instance_type": instance_type,
        "zone": zone,
        "nodes": len(machines),
        "schedulable": len(open_),
        "free_whole_nodes": sum(map(is_free, open_)),
        "accelerator": device,
        "accelerators": sum(each.offered for one in machines for each in _whole(one, device)),
        "free_accelerators": sum(one.free_devices(each) for one in open_ for each in _whole(one, device)),
        "free_efa": _free(open_, EFA),
        "free_cpu": written("cpu", _free(open_, "cpu")),
        "free_memory": f"{_free(open_, 'memory') >> 30}Gi",
    }


def _devices(instance_type: str, zone: str, machines: list[Machine], wants: PodWants) -> list[dict[str, Any]]:
    """A row for each resource of these nodes: whole devices, slices by their profile, shared ones. `of`: what should be there."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in machines:
        is_open = not against(wants, one)
        for each in one.devices:
            new = {"instance_type": instance_type, "zone": zone, "resource": each.resource, "kind": each.kind}
            counts = dict.fromkeys(("nodes", "devices", "of", "allocatable", "free"), 0)
            row = rows.setdefault((each.resource, each.kind, each.profile), {**new, "profile": each.profile or None, **counts})
            more = (1, each.behind, each.due, each.offered, one.free_devices(each) if is_open else 0)
            row |= {key: row[key] + count for key, count in zip(counts, more, strict=True)}
    return list(rows.values())


def _free(machines: Sequence[Machine], resource: str) -> int:
    return sum(max(0, one.free(resource)) for one in machines)


def _device(instance_type: str, machines: Sequence[Machine]) -> str | None:
    """The resource of the accelerators: by the table, else whichever the nodes offer."""
    kind = known_type(instance_type)
    if kind:
        return kind.resource
    return next((each.resource for one in machines for each in _accelerators(one) if each.offered), None)


def _accelerators(machine: Machine) -> list[Devices]:
    return [each for each in machine.devices if each.resource != EFA]


def _whole(machine: Machine, device: str | None) -> list[Devices]:
    return [each for each in machine.devices if each.resource == device and each.kind == WHOLE]


def is_free(machine: Machine) -> bool:
    """Whether a job can have the whole node: all its accelerators are there, whole and not taken; without any, nothing but the
    system runs there."""
    accelerators = _accelerators(machine)
    if not accelerators:
        return machine.used == machine.system
    untaken = not any(count for resource, count in machine.used.items() if is_accelerator(resource))
    return untaken and all(each.kind == WHOLE and each.offered == each.due for each in accelerators)


def _short(chosen: Sequence[Machine]) -> list[shell.Check]:
    """A warning where devices are not handed out: they are not free, and nobody has them."""
    found = [(one.name, each) for one in chosen for each in one.devices if each.offered < each.due]
    short = [
        (name, each) for name, each in found if each.resource != EFA or each.held
    ]  # without its plugin EFA is left out on purpose
    if not short:
        return []
    told = [f"{name} {each.offered} of {each.due} {each.called}" for name, each in short]
    summary = f"{len({name for name, _ in short})} of {len(chosen)} nodes hand out fewer devices than they should have"
    return [shell.Check("capacity.devices", "warn", summary, "; ".join(told[:MAX_NAMED]), "manage_cluster.py health")]


def _check(chosen: Sequence[Machine], wants: PodWants) -> shell.Check:
    if not chosen:
        return shell.Check("capacity.nodes", "warn", "no node has these labels", None, "kubectl get nodes --show-labels")
    held = sum(bool(against(wants, one)) for one in chosen)
    if held == len(chosen):
        fix = "--toleration with the taints in held_back; for a cordoned node: manage_cluster.py fix uncordon NODE"
        return shell.Check("capacity.nodes", "warn", f"none of {held} nodes takes a pod", None, fix)
    return shell.Check("capacity.nodes", "pass", f"{len(chosen) - held} of {len(chosen)} nodes take pods")


def toleration_of(text: str) -> dict[str, Any]:
    """A toleration as JSON. Raises SkillError usage."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
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
