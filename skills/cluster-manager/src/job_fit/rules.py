"""The scheduler's filters, pure: may this pod go to this machine, and how many such pods.

Unschedulable, TaintToleration, NodeAffinity (nodeSelector and volume terms) and NodeResourcesFit of kube-scheduler 1.36. The pods
of a job are alike, so counting the room on each machine is exact: no packing problem is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster_amounts import Amounts, written
from cluster_devices import GPU, SHARED, WHOLE, Devices
from cluster_nodes import CORDONED, HOLDS_BACK, Machine
from cluster_read import Taint

NOT_READY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
Term = dict[str, Any]
"""A nodeSelectorTerm: matchExpressions and matchFields, all of which must hold."""


@dataclass(frozen=True)
class PodWants:
    """What one pod of the job asks of a machine."""

    requests: Amounts
    selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    places: tuple[tuple[Term, ...], ...] = ()
    """Where its volumes can be: of each group of terms one must match."""
    avoids: tuple[str, ...] = ()
    """Names of nodes that the job keeps away from."""
    whole: str | None = None
    """The resource of its accelerators where they must be whole ones: several ranks cannot share a device (NCCL refuses it)."""


def against(wants: PodWants, machine: Machine) -> list[str]:
    """All that keeps the pod from this machine whatever runs there; []: it can go there."""
    found = []
    if machine.cordoned and not tolerates(wants.tolerations, Taint(CORDONED, "NoSchedule")):
        found.append("cordoned")
    if not machine.ready:
        found.append("not Ready")
    if machine.name in wants.avoids:
        found.append("the job avoids it (cluster.avoid_nodes)")
    # The controllers' taints say the same again.
    said = [*([CORDONED] if machine.cordoned else []), *([] if machine.ready else NOT_READY)]
    taints = [taint for taint in machine.taints if taint.key not in said and not _bears(wants, taint)]
    found += [f"taint {each.key}{'=' if each.value else ''}{each.value}:{each.effect} is not tolerated" for each in taints]
    for key, value in wants.selector.items():
        if (held := machine.labels.get(key)) != value:
            found.append(f"label {key} is not {value}" + ("" if held is None else f" but {held}"))
    if not all(any(term_matches(term, machine) for term in group) for group in wants.places):
        found.append("the volume cannot be reached from there")
    return found + ([not_whole(each) for each in in_parts(machine, wants.whole)] if wants.whole else [])


def in_parts(machine: Machine, resource: str) -> list[Devices]:
    """Slices and shared devices under the name of whole ones."""
    return [each for each in machine.devices if each.resource == resource and each.kind != WHOLE]


def not_whole(devices: Devices) -> str:
    if devices.kind == SHARED:
        strategy = f" ({devices.strategy})" if devices.strategy else ""
        return f"{devices.resource} is a shared GPU there{strategy}: ranks would share devices"
    return f"{devices.resource} is a slice of a GPU there ({devices.profile})"


def room(wants: PodWants, machine: Machine) -> int:
    """How many such pods fit beside what runs there."""
    counts = [machine.free("pods")]
    counts += [machine.free(resource) // count for resource, count in wants.requests.items() if count > 0]
    return max(0, min(counts))


def shortages(wants: PodWants, machine: Machine) -> list[str]:
    """Of what a machine has too little for one pod: that it does not have it is another thing than that pods hold it."""
    requests = {resource: count for resource, count in {**wants.requests, "pods": 1}.items() if count > 0}
    short = [resource for resource, count in requests.items() if machine.free(resource) < count]
    held = [resource for resource in short if machine.allocatable.get(resource, 0) >= requests[resource]]
    found = [too_small(machine, each, requests[each]) for each in short if each not in held]
    return [f"not enough {', '.join(held)} left"] * bool(held) + found


def too_small(machine: Machine, resource: str, count: int) -> str:
    """Even the empty machine would not do."""
    if "/" not in resource:
        return f"too small for {written(resource, count)} {resource}"
    offered, named = machine.allocatable.get(resource, 0), [each for each in machine.devices if each.resource == resource]
    due = max([offered, *(each.due for each in named)])
    told = f"offers {offered}{f' of its {due}' if due > offered else ''} {resource}"
    others = [each.called for each in machine.devices if each.family == "gpu" and each.resource != GPU]
    if resource == GPU and not offered and others:
        told += f" (its GPUs are {', '.join(others)})"
    return f"{told}, a pod asks for {count}"


# --- taints ------------------------------------------------------------------------------------------------------


def _bears(wants: PodWants, taint: Taint) -> bool:
    return taint.effect not in HOLDS_BACK or tolerates(wants.tolerations, taint)


def tolerates(tolerations: Sequence[dict[str, Any]], taint: Taint) -> bool:
    """As v1 Toleration.ToleratesTaint."""
    return any(_tolerates(each, taint) for each in tolerations)


def _tolerates(toleration: dict[str, Any], taint: Taint) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.effect:
        return False
    key = toleration.get("key") or ""
    if key and key != taint.key:
        return False
    if (toleration.get("operator") or "Equal") == "Exists":
        return True
    return bool(key) and (toleration.get("value") or "") == taint.value


# --- node affinity -----------------------------------------------------------------------------------------------


def term_matches(term: Term, machine: Machine) -> bool:
    """An empty term matches nothing."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    by_label = all(expression_holds(each, machine.labels) for each in expressions)
    return (
        bool(expressions or fields)
        and by_label
        and all(expression_holds(each, {"metadata.name": machine.name}) for each in fields)
    )


def expression_holds(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    key, operator = str(expression["key"]), str(expression["operator"])
    values: list[str] = expression.get("values") or []
    held = labels.get(key)
    if operator == "In":
        return held in values
    if operator == "NotIn":
        return held not in values
    if operator in ("Exists", "DoesNotExist"):
        return (held is not None) == (operator == "Exists")
    try:
        here, limit = int(held or ""), int(values[0])
    except (ValueError, IndexError):
        return False
    return here > limit if operator == "Gt" else here < limit
