"""Who runs on a node: jobs of ours by their label, those of others by their owner; what belongs to the node itself does not count."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import trainyard_kube as kube
import trainyard_nodehealth as nodehealth

UNFINISHED = "status.phase!=Succeeded,status.phase!=Failed"
SYSTEM_PRIORITIES = ("system-node-critical", "system-cluster-critical")
SYSTEM_NAMESPACES = ("kube-system", "aws-hyperpod")
"""Whose system-critical pods (DNS, HyperPod's operators) are nobody's job: their Deployment makes them anew on another node."""
ROLLED = "pod-template-hash"


@dataclass(frozen=True)
class Tenant:
    """One job, or whatever else made pods there."""

    namespace: str
    owner: str
    """KIND/NAME of what made the pods; of ours run/NAME."""
    ours: bool
    pods: int

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class OnNode:
    tenants: tuple[Tenant, ...] = ()
    has_agent: bool = False
    """HyperPod's health agent has a pod there that is Ready."""


def on_nodes(cluster: kube.Cluster, node: str | None = None) -> dict[str, OnNode]:
    """By name of the node; of all, or of one. Raises ApiError."""
    chosen = f"{UNFINISHED},spec.nodeName={node}" if node else UNFINISHED
    pods = cluster.list("/api/v1/pods", fieldSelector=chosen)
    counted: dict[str, dict[tuple[str, str, bool], int]] = defaultdict(lambda: defaultdict(int))
    agents = set()
    for pod in pods:
        name = pod["spec"].get("nodeName")
        if not name:
            continue
        namespace = str(pod["metadata"].get("namespace"))
        if nodehealth.is_agent(namespace, kube.name(pod)) and _is_ready(pod):
            agents.add(name)
        if not of_the_node(pod):
            counted[name][(namespace, *_owner(pod))] += 1
    return {
        name: OnNode(tuple(Tenant(*key, pods) for key, pods in sorted(counted[name].items())), name in agents)
        for name in {*counted, *agents}
    }


def of_the_node(pod: kube.Object) -> bool:
    """DaemonSets' and static pods, and the cluster's own services. Anything else may be somebody's job, in kube-system too."""
    owners = {owner.get("kind") for owner in pod["metadata"].get("ownerReferences") or []}
    critical = (pod.get("spec") or {}).get("priorityClassName") in SYSTEM_PRIORITIES
    return bool(owners & {"DaemonSet", "Node"}) or (critical and pod["metadata"].get("namespace") in SYSTEM_NAMESPACES)


def _owner(pod: kube.Object) -> tuple[str, bool]:
    labels = pod["metadata"].get("labels") or {}
    if run := labels.get(kube.RUN):
        return f"run/{run}", True
    if job := labels.get("HPJob"):  # HyperPod's training operator
        return f"HyperPodPyTorchJob/{job}", False
    owner = next((each for each in pod["metadata"].get("ownerReferences") or [] if each.get("controller")), None)
    if owner is None:
        return f"Pod/{kube.name(pod)}", False
    name = str(owner.get("name"))
    if owner.get("kind") == "ReplicaSet" and (hash := labels.get(ROLLED)):
        return f"Deployment/{name.removesuffix(f'-{hash}')}", False
    return f"{owner.get('kind')}/{name}", False


def _is_ready(pod: kube.Object) -> bool:
    return any((each.get("type"), each.get("status")) == ("Ready", "True") for each in kube.conditions(pod))
