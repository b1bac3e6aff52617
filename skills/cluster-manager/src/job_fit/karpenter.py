"""Karpenter, EKS Auto Mode and HyperPod's Karpenter: which NodePools would make a node for a pod of the job.

A pool's requirements and template labels say which labels its nodes can have; a label of which it says nothing it never gives, except
those that every node has. github.com/kubernetes-sigs/karpenter 1.x, scheduling/requirements.go; the objects are `karpenter.sh/v1`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import trainyard_kube as kube
from cluster_amounts import Amounts, amount, amounts, written
from cluster_nodes import HOLDS_BACK
from cluster_read import Taint
from trainyard_instances import TYPE_LABEL, InstanceType, known_type

from job_fit.growth import Growth, Wanted, offered_by, pods_a_node
from job_fit.rules import expression_holds, tolerates

GROUP = "karpenter.sh"
OPEN = (
    "kubernetes.io/",
    "node.kubernetes.io/",
    "topology.kubernetes.io/",
    "karpenter.sh/",
    "karpenter.k8s.aws/",
    "eks.amazonaws.com/",
)
"""Labels of every node that it makes: a pool that says nothing of them leaves them open."""
FAMILY = re.compile(r"([a-z]+)(\d)")
MAX_LISTED, MAX_NAMED = 60, 5


def growth(cluster: kube.Cluster, wanted: Wanted) -> Growth:
    found = Growth()
    with kube.noted("fit.growth", found.unknown, may_be_absent=True):
        group = cluster.find(f"/apis/{GROUP}")
        if group is None:
            return found
        for pool in cluster.list(f"/apis/{group['preferredVersion']['groupVersion']}/nodepools"):
            against = next(_against(pool, wanted), None)
            name = f"NodePool {kube.name(pool)}"
            if against:
                found.would_not.append(f"{name}: {against}")
            else:
                found.may.append(f"Karpenter's {name}")
    return found


def _against(pool: kube.Object, wanted: Wanted) -> Iterator[str]:
    """Why the pool would make no node for the pods."""
    if kube.is_going(pool):
        yield "is being deleted"
    if pool["spec"].get("replicas") is not None:
        yield "has a fixed number of nodes"
    for each in kube.conditions(pool):
        if (each["type"], each["status"]) == ("Ready", "False"):
            yield f"is not Ready: {each.get('message') or each.get('reason')}"
    template = pool["spec"].get("template") or {}
    spec = template.get("spec") or {}
    for taint in spec.get("taints") or []:
        if taint["effect"] in HOLDS_BACK and not tolerates(wanted.pods.tolerations, _taint(taint)):
            yield f"its taint {taint['key']}:{taint['effect']} is not tolerated"
    labels = (template.get("metadata") or {}).get("labels") or {}
    rules: list[dict[str, Any]] = spec.get("requirements") or []
    yield from _labels_against(rules, labels, wanted)
    yield from _types_against(rules, labels, wanted)
    yield from _limits_against(pool, wanted)


def _taint(taint: dict[str, str]) -> Taint:
    return Taint(taint["key"], taint["effect"], taint.get("value") or "")


def _labels_against(rules: list[dict[str, Any]], labels: dict[str, str], wanted: Wanted) -> Iterator[str]:
    named = {rule["key"] for rule in rules} | labels.keys()
    for key, value in wanted.pods.selector.items():
        if key == TYPE_LABEL:
            continue
        if key not in named and not key.startswith(OPEN):
            yield f"its nodes have no label {key}"
        elif labels.get(key, value) != value or not _all_hold(rules, {key: value}):
            yield f"its nodes never have {key}={value}"
    for terms in wanted.pods.places:
        if not any(_can_be(term, rules, labels) for term in terms):
            yield "the volume cannot be reached from its nodes"


def _all_hold(rules: list[dict[str, Any]], labels: dict[str, str]) -> bool:
    """Whether these labels keep to what the rules say of them."""
    return all(expression_holds(rule, labels) for rule in rules if rule["key"] in labels)


def _can_be(term: dict[str, Any], rules: list[dict[str, Any]], labels: dict[str, str]) -> bool:
    """Whether a node of the pool can be where the term says: each `In` has a value that the pool allows."""
    for each in term.get("matchExpressions") or []:
        if each["operator"] == "In":
            values = [labels[each["key"]]] if each["key"] in labels else each.get("values") or []
            if not any(value in each["values"] and _all_hold(rules, {each["key"]: value}) for value in values):
                return False
    return not term.get("matchFields")


# --- types and limits --------------------------------------------------------------------------------------------


def _types_against(rules: list[dict[str, Any]], labels: dict[str, str], wanted: Wanted) -> Iterator[str]:
    """By the job's type, or by those that the pool lists: is there one on which a pod has room?"""
    if wanted.kind:
        names = [wanted.kind.name, f"ml.{wanted.kind.name}"]
        if not any(labels.get(TYPE_LABEL, name) == name and _all_hold(rules, _labels_of(name, wanted.kind)) for name in names):
            yield f"it makes no {wanted.kind.name}"
        elif not pods_a_node(wanted.pods, offered_by(wanted.kind)):
            yield f"an empty {wanted.kind.name} has too little room for a pod"
        return
    listed = [value for rule in rules if rule["key"] == TYPE_LABEL and rule["operator"] == "In" for value in rule["values"]]
    kinds = [known_type(name) for name in listed[:MAX_LISTED]]
    # Of a type that is not in our table nothing is known: it may do.
    if kinds and all(kind and not pods_a_node(wanted.pods, offered_by(kind)) for kind in kinds):
        yield f"no pod has room on {', '.join(listed[:MAX_NAMED])}"


def _labels_of(name: str, kind: InstanceType) -> dict[str, str]:
    """Of a node of that type, as Karpenter's provider for AWS sets them: p4d.24xlarge is of category p and generation 4."""
    family, _, size = kind.name.partition(".")
    found = FAMILY.match(family)
    parts = {"family": family, "size": size, "category": found[1] if found else "", "generation": found[2] if found else ""}
    return {TYPE_LABEL: name, **{f"karpenter.k8s.aws/instance-{key}": value for key, value in parts.items() if value}}


def _limits_against(pool: kube.Object, wanted: Wanted) -> Iterator[str]:
    limits, used = amounts(pool["spec"].get("limits")), kube.status(pool).get("resources") or {}
    for key, needed in _needed(wanted).items():
        left = limits[key] - amount(key, str(used.get(key, "0"))) if key in limits else needed
        if needed > left:
            yield f"its limit of {written(key, limits[key])} {key} leaves {written(key, max(left, 0))}, {written(key, needed)} are needed"


def _needed(wanted: Wanted) -> Amounts:
    """Limits count whole nodes."""
    kind = wanted.kind
    if kind is None:
        return {key: count * wanted.short for key, count in wanted.pods.requests.items()} | {"nodes": 1}
    nodes = -(-wanted.short // max(1, pods_a_node(wanted.pods, offered_by(kind))))
    each = {"cpu": kind.vcpu * 1000, "memory": kind.memory_gib << 30, kind.resource: kind.accelerators, "nodes": 1}
    return {key: count * nodes for key, count in each.items()}
