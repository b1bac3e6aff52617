"""What an acting verb knows before it acts: the cluster, its instances, and Kubernetes' side of them where that can be read."""

from __future__ import annotations

from dataclasses import dataclass

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_api import cluster as clusters
from hyperpod_api.calls import SageMaker
from hyperpod_api.cluster import HyperPodCluster
from hyperpod_api.instances import Instance, instances
from hyperpod_nodes.same_cluster import same_cluster
from hyperpod_nodes.joined import PREFIX, HyperPodNode, hyperpod_nodes_of, joined

SLURM = "the cluster is orchestrated by Slurm: Kubernetes does not know it, and what runs there only Slurm says (squeue, sinfo)"


@dataclass(frozen=True)
class Picture:
    sagemaker: SageMaker
    cluster: HyperPodCluster
    instances: list[Instance]
    nodes: list[HyperPodNode]
    kubernetes: kube.Cluster | None
    unread: str | None
    """Why Kubernetes could not be asked; None: it was. Whatever runs on the nodes is unknown then."""
    for_good: bool = False
    """Asking again does not change that: no kubeconfig, no permission."""

    @property
    def is_slurm(self) -> bool:
        return self.cluster.orchestrator == "slurm"

    def again(self) -> Picture:
        """As it is now. Raises AwsError, SkillError."""
        found = clusters.find(self.sagemaker, self.cluster.name)
        return _seen(self.sagemaker, found, self.kubernetes, None if self.kubernetes else self.unread)

    def command(self, *words: str) -> str:
        """A next call of this program about this cluster."""
        return " ".join(["manage_hyperpod.py", *words, "--region", self.sagemaker.region])


def look(region: str | None, name: str | None, where: kube.Where) -> Picture:
    """Raises SkillError usage, not-found; conflict where the context leads to another cluster's Kubernetes; AwsError."""
    sagemaker = SageMaker.open(region)
    cluster = clusters.find(sagemaker, name)
    if cluster.orchestrator == "slurm":
        return _seen(sagemaker, cluster, None, SLURM)
    try:
        kubernetes = kube.connect(where)
    except shell.SkillError as error:
        if error.code in ("conflict", "usage"):
            raise
        return _seen(sagemaker, cluster, None, f"{error} ({error.hint})")
    same_cluster(cluster, kubernetes)
    return _seen(sagemaker, cluster, kubernetes, None)


def _seen(sagemaker: SageMaker, cluster: HyperPodCluster, kubernetes: kube.Cluster | None, unread: str | None) -> Picture:
    listed = instances(sagemaker, cluster)
    nodes, for_good = [], kubernetes is None
    if kubernetes:
        try:
            nodes = hyperpod_nodes_of(kubernetes)
        except shell.SkillError as error:
            unread, for_good = f"{error} ({error.hint})", error.code in ("permission", "credentials")
    both = joined(listed, nodes)
    if kubernetes and not unread:
        _refuse_strangers(cluster, kubernetes, both)
    return Picture(sagemaker, cluster, listed, both, kubernetes, unread, for_good)


def _refuse_strangers(cluster: HyperPodCluster, kubernetes: kube.Cluster, nodes: list[HyperPodNode]) -> None:
    """Instance ids are nowhere the same twice: a Kubernetes that has HyperPod nodes and none of ours is another one's."""
    running = [each for each in nodes if each.instance and each.instance.status == "Running"]
    strangers = [each.node for each in nodes if each.instance is None and each.node]
    elsewhere = [node for node in strangers if kube.label(node, PREFIX + "cluster-name") != cluster.name]
    if running and elsewhere and not any(each.node for each in running):
        first = kube.label(elsewhere[0], PREFIX + "cluster-name") or "no label says which"
        told = f"context {kubernetes.context} leads to {kubernetes.server}, whose {len(elsewhere)} HyperPod nodes are of another cluster"
        raise _other(cluster, f"{told} ({shell.clean(first, 80)})")


def _other(cluster: HyperPodCluster, message: str) -> shell.SkillError:
    name = (cluster.eks_arn or "").rpartition("/")[2] or "CLUSTER"
    hint = f"aws eks update-kubeconfig --name {name} adds the right context; --context names it"
    return shell.SkillError("conflict", f"{cluster.name}: {message}", hint=hint)
