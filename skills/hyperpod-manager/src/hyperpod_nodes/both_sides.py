"""A cluster's nodes as both sides have them, read once: what `nodes`, `health` and the repairs look at."""

from __future__ import annotations

from dataclasses import dataclass, field

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_api.calls import SageMaker
from hyperpod_api.cluster import HyperPodCluster
from hyperpod_api.instances import instances
from hyperpod_nodes.joined import PREFIX, HyperPodNode, hyperpod_nodes_of, joined
from hyperpod_nodes.same_cluster import same_cluster
from hyperpod_nodes.tenants import OnNode, on_nodes


@dataclass(frozen=True)
class BothSides:
    cluster: HyperPodCluster
    nodes: list[HyperPodNode]
    """Of this cluster; of a group where one was asked for."""
    on: dict[str, OnNode] = field(default_factory=dict)
    foreign: list[HyperPodNode] = field(default_factory=list)
    """Nodes that say they are another HyperPod cluster's: two may share an EKS cluster."""
    asked: bool = False
    """Kubernetes was asked, and has answered."""
    checks: list[shell.Check] = field(default_factory=list)
    server: kube.Cluster | None = None

    @property
    def pods_known(self) -> bool:
        return self.asked and all(check.id != "nodes.pods" for check in self.checks)


def read(sagemaker: SageMaker, found: HyperPodCluster, where: kube.Where | None, group: str | None = None) -> BothSides:
    """`where` None: only SageMaker is asked. What Kubernetes refuses is a check that is unknown; what is another cluster's is exit 5.

    Raises AwsError; SkillError conflict, not-found (no such group).
    """
    if group is not None and group not in found.groups:
        raise shell.SkillError(
            "not-found",
            f"{found.name} has no instance group {shell.clean(group, 60)!r}",
            hint=f"it has {', '.join(found.groups)}",
        )
    listed = instances(sagemaker, found)  # all: a node of another group is no node without an instance
    alone = joined([each for each in listed if group in (None, each.group)], [])
    if where is None:
        return BothSides(found, alone)
    if found.orchestrator != "eks":
        what = f"{found.name} is a Slurm cluster: it has no Kubernetes nodes, labels or agents to read"
        return BothSides(found, alone, checks=[shell.Check("nodes.kubernetes", "skipped", what)])
    refused: list[shell.Check] = []
    try:
        server = kube.connect(where)
        refused.append(same_cluster(found, server))
        nodes = hyperpod_nodes_of(server)
    except shell.SkillError as error:
        if error.code in ("conflict", "usage"):
            raise
        what = "Kubernetes does not answer: only SageMaker's side is known"
        refused.append(shell.Check("nodes.kubernetes", "unknown", what, shell.clean(str(error), 300), error.hint))
        return BothSides(found, alone, checks=refused)
    on: dict[str, OnNode] = {}
    with kube.noted("nodes.pods", refused):
        on = on_nodes(server)
    return _sorted(found, joined(listed, nodes), group, on, refused, server)


def _sorted(
    found: HyperPodCluster,
    nodes: list[HyperPodNode],
    group: str | None,
    on: dict[str, OnNode],
    checks: list[shell.Check],
    server: kube.Cluster,
) -> BothSides:
    ours, foreign = [], []
    for each in nodes:
        label = kube.label(each.node, f"{PREFIX}cluster-name") if each.node else None
        if each.instance is None and label is not None and label != found.name:
            foreign.append(each)
        elif group in (None, _group(each)):
            ours.append(each)
    return BothSides(found, ours, on, foreign, True, [_proven(check, ours) for check in checks], server)


def _group(each: HyperPodNode) -> str | None:
    """SageMaker's word counts."""
    return (
        each.instance.group if each.instance else kube.label(each.node, f"{PREFIX}instance-group-name") if each.node else None
    )


def _proven(check: shell.Check, nodes: list[HyperPodNode]) -> shell.Check:
    """Instance ids are one of a kind: a node that has one of this cluster's is proof that it is the right Kubernetes."""
    both = sum(1 for each in nodes if each.instance and each.node)
    if check.id != "nodes.cluster" or check.status != "unknown" or not both:
        return check
    return shell.Check(check.id, "pass", f"{both} of its instances are nodes of this context", check.evidence)
