"""The scheduler's filters, pure: may this pod go to this machine, and how many such pods.

Unschedulable, TaintToleration, NodeAffinity (nodeSelector and volume terms) and NodeResourcesFit of kube-scheduler 1.36. The pods
of a job are alike, so counting the room on each machine is exact: no packing problem is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster_amounts import Amounts
from cluster_nodes import CORDONED, HOLDS_BACK, Machine
from cluster_read import Taint

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


def why_not(wants: PodWants, machine: Machine) -> str | None:
    """Why the pod cannot go to this machine whatever runs there; None: it can."""
    if machine.cordoned and not tolerates(wants.tolerations, Taint(CORDONED, "NoSchedule")):
        return "cordoned"
    if not machine.ready:
        return "not Ready"
    taint = next((taint for taint in machine.taints if not _bears(wants, taint)), None)
    if taint is not None:
        return f"taint {taint.key}{'=' if taint.value else ''}{taint.value}:{taint.effect} is not tolerated"
    missing = next((key for key, value in wants.selector.items() if machine.labels.get(key) != value), None)
    if missing is not None:
        return f"label {missing} is not {wants.selector[missing]}"
    if not all(any(term_matches(term, machine) for term in group) for group in wants.places):
        return "the volume cannot be reached from there"
    return None


def room(wants: PodWants, machine: Machine) -> int:
    """How many such pods fit beside what runs there."""
    counts = [machine.free("pods")]
    counts += [machine.free(resource) // count for resource, count in wants.requests.items() if count > 0]
    return max(0, min(counts))


def short_of(wants: PodWants, machine: Machine) -> list[str]:
    """The resources of which a machine has too little left for one pod."""
    requests = {**wants.requests, "pods": 1}
    return [resource for resource, count in requests.items() if count > 0 and machine.free(resource) < count]


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
    by_label = all(_expression(each, machine.labels) for each in expressions)
    return (
        bool(expressions or fields) and by_label and all(_expression(each, {"metadata.name": machine.name}) for each in fields)
    )


def _expression(expression: dict[str, Any], labels: dict[str, str]) -> bool:
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
