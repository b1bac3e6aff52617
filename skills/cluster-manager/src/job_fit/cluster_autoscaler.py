"""Cluster Autoscaler: which node groups may grow, by the status that it writes into a config map.

github.com/kubernetes/autoscaler, clusterstate/api: YAML since 1.30, before that lines for people. It names groups and their sizes, not
what their nodes are: that is told by a node of the group that is there already. EKS calls the group of a managed node group
`eks-NAME-UUID`, and labels its nodes with NAME.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import trainyard_kube as kube
import trainyard_shell as shell
import trainyard_yaml
import yaml
from cluster_nodes import CORDONED, Machine
from trainyard_files import Unusable

from job_fit.growth import Growth, Wanted, offered_by, pods_a_node
from job_fit.rules import against, room

STATUS = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
EKS_GROUP = "eks.amazonaws.com/nodegroup"
PASSING = (
    "node.kubernetes.io/",
    "node.cloudprovider.kubernetes.io/",
    "ToBeDeletedByClusterAutoscaler",
    "DeletionCandidateOfClusterAutoscaler",
)
"""Beginnings of taints that a node has for the moment, and a new one has not."""
BEGINNINGS = re.compile(r"^\s*Name:", re.MULTILINE)
OLD = re.compile(
    r"\s*(?P<name>\S+)\s+Health:\s+(?P<health>\w+).{0,300}?cloudProviderTarget=(?P<target>\d+).{0,40}?maxSize=(?P<most>\d+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Group:
    name: str
    healthy: bool
    left: int
    """Nodes that it may add."""


def growth(cluster: kube.Cluster, wanted: Wanted) -> Growth:
    found, refused = Growth(), list[shell.Check]()
    with kube.noted("fit.growth", refused):
        status = cluster.find(STATUS)
        if status is None:
            found.may += ["Cluster Autoscaler, which writes no status"] * wanted.machines.autoscaler
            return found
        groups = groups_of(str((status.get("data") or {}).get("status") or ""))
        if groups is None:
            found.may.append("Cluster Autoscaler, whose status cannot be read")
            return found
        for group in groups:
            against = next(_against(group, wanted), None)
            name = f"node group {shell.clean(group.name, 80)}"
            if against:
                found.would_not.append(f"{name}: {against}")
            else:
                found.may.append(f"Cluster Autoscaler's {name} (up to {group.left} nodes more)")
    if refused and wanted.machines.autoscaler:
        found.unknown += refused  # it runs here, and only it knows its groups
    return found


def groups_of(status: str) -> list[Group] | None:
    """None: this is not a status that is known."""
    if found := [_old(each) for part in BEGINNINGS.split(status)[1:] if (each := OLD.match(part))]:
        return found
    try:
        told = trainyard_yaml.load(status)
        return [_new(each) for each in told["nodeGroups"]]
    except (Unusable, yaml.YAMLError, KeyError, TypeError, ValueError):
        return None


def _old(found: re.Match[str]) -> Group:
    return Group(found["name"], found["health"] == "Healthy", int(found["most"]) - int(found["target"]))


def _new(group: kube.Object) -> Group:
    health = group["health"]
    return Group(
        str(group["name"]), health.get("status") == "Healthy", int(health["maxSize"]) - int(health["cloudProviderTarget"])
    )


def _against(group: Group, wanted: Wanted) -> Iterator[str]:
    """Why the group would add no node for the pods, or too few."""
    if not group.healthy:
        yield "is not healthy"
    if group.left <= 0:
        yield "has as many nodes as it may have"
    example = next((one for one in wanted.machines.all if _is_of(one, group.name)), None)
    empty = replace(_new_one(example), name=group.name) if example else None
    if empty and (reasons := against(wanted.pods, empty)):
        yield f"its nodes: {', '.join(reasons)}"
    each = room(wanted.pods, empty) if empty else _by_type(wanted)
    if group.left * each < wanted.short:
        yield f"up to {group.left} nodes more have room for {group.left * each} of {wanted.short} pods"


def _is_of(machine: Machine, group: str) -> bool:
    own = machine.labels.get(EKS_GROUP)
    return own is not None and (group == own or group.startswith(f"eks-{own}-"))


def _new_one(machine: Machine) -> Machine:
    """As a new node of its group would be: empty but for what stays on every node."""
    taints = [each for each in machine.taints if not each.key.startswith(PASSING) and each.key != CORDONED]
    return replace(machine, taints=taints, cordoned=False, ready=True, used=machine.system, lower=[])


def _by_type(wanted: Wanted) -> int:
    """Pods a node where no node of the group is there to look at: by the job's type, else as many as it takes."""
    return pods_a_node(wanted.pods, offered_by(wanted.kind)) if wanted.kind else wanted.short
