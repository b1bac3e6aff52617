"""What does not fit between SageMaker's list and Kubernetes' nodes."""

from __future__ import annotations

from collections.abc import Iterator

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_nodes.both_sides import BothSides
from hyperpod_nodes.joined import INSTANCE_ID, PREFIX, HyperPodNode

MAX_NAMED = 10


def mismatches(sides: BothSides) -> list[shell.Check]:
    """One check for each kind, all nodes named in its evidence; [] where Kubernetes was not asked."""
    if not sides.asked:
        return []
    kinds: dict[str, list[str]] = {}
    for each in sides.nodes:
        for id, told in _of(each, sides):
            kinds.setdefault(id, []).append(told)
    checks = [_check(id, told) for id, told in kinds.items()]
    if sides.foreign:
        checks.append(_check("nodes.foreign", [f"{each.node_name} of {_cluster_label(each)}" for each in sides.foreign]))
    return checks


SAYS = {
    "nodes.unregistered": ("warn", "instances that SageMaker calls Running have no node", "kubectl get nodes; events of the instance; a node that never comes: replace"),
    "nodes.without-instance": ("warn", "nodes that SageMaker does not list: replaced, deleted, or of another account", "kubectl delete node NAME, once its instance is gone for good"),
    "nodes.stale-name": ("warn", "nodes whose name carries another instance id than they have: made before a replacement", "go by the instance id; the name is of the old one"),
    "nodes.other-cluster": ("warn", "nodes with an instance of this cluster and the label of another one", "the instance was moved: the label changes later; if it does not, ask AWS support"),
    "nodes.other-group": ("warn", "nodes whose group differs between the two sides", "SageMaker's is right; the label follows after a move"),
    "nodes.same-id": ("warn", "several nodes with the same instance id, or with none that can be read", "kubectl get nodes -o wide; the one that is not Ready is the old one"),
    "nodes.foreign": ("skipped", "nodes of other HyperPod clusters on the same EKS cluster are left out", None),
}  # fmt: skip


def _of(each: HyperPodNode, sides: BothSides) -> Iterator[tuple[str, str]]:
    instance, node = each.instance, each.node
    if instance and not node:
        if instance.status == "Running":
            yield "nodes.unregistered", f"{instance.id} ({instance.group})"
        return
    if node is None:
        return
    named = _id_in_name(each)
    if instance is None:
        taken = each.id is None or any(other.instance and other.id == each.id for other in sides.nodes)
        yield "nodes.same-id" if taken else "nodes.without-instance", f"{each.node_name} ({each.id or 'no id'})"
        return
    if named and named != instance.id:
        yield "nodes.stale-name", f"{each.node_name} is {instance.id}"
    if (label := _cluster_label(each)) not in (None, sides.cluster.name):
        yield "nodes.other-cluster", f"{each.node_name}: {label}"
    if (group := kube.label(node, f"{PREFIX}instance-group-name")) not in (None, instance.group):
        yield "nodes.other-group", f"{each.node_name}: {group} here, {instance.group} in SageMaker"


def _id_in_name(each: HyperPodNode) -> str | None:
    found = INSTANCE_ID.search(each.node_name or "")
    return found.group() if found else None


def _cluster_label(each: HyperPodNode) -> str | None:
    return kube.label(each.node, f"{PREFIX}cluster-name") if each.node else None


def _check(id: str, told: list[str]) -> shell.Check:
    status, what, fix = SAYS[id]
    more = f" and {len(told) - MAX_NAMED} more" if len(told) > MAX_NAMED else ""
    return shell.Check(id, status, f"{len(told)} {what}", ", ".join(told[:MAX_NAMED]) + more, fix)
