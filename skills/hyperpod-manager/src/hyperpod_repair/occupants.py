"""What runs on a node: pods of runs of ours, pods of others. What belongs to every node does not count."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_nodes.joined import HyperPodNode
from hyperpod_nodes.tenants import UNFINISHED, of_the_node
from hyperpod_repair.picture import Picture

Pod = dict[str, Any]
MAX_SHOWN = 20


@dataclass(frozen=True)
class Occupants:
    ours: list[Pod] = field(default_factory=list)
    others: list[Pod] = field(default_factory=list)
    unknown: str | None = None
    """Why it could not be read. It may be somebody's job."""

    @property
    def anybody(self) -> bool:
        return bool(self.ours or self.others or self.unknown)


def occupants(picture: Picture, node: HyperPodNode) -> Occupants:
    """Never raises for what cannot be read: that is `unknown`."""
    if picture.kubernetes is None or picture.unread:
        return Occupants(unknown=picture.unread or "Kubernetes was not asked")
    assert node.instance is not None
    if node.node_name is None:
        if node.instance.id is None:
            return Occupants()
        return Occupants(unknown="it is not registered with this Kubernetes")
    try:
        return sorted_out(pods_on(picture.kubernetes, node.node_name))
    except shell.SkillError as error:
        return Occupants(unknown=f"{error}: {error.hint}")


def pods_on(kubernetes: kube.Cluster, node_name: str) -> list[Pod]:
    """Those that have not ended, of every namespace. Raises ApiError."""
    return kubernetes.list("/api/v1/pods", fieldSelector=f"spec.nodeName={node_name},{UNFINISHED}")


def sorted_out(pods: list[Pod]) -> Occupants:
    counted = [pod for pod in pods if not of_the_node(pod)]
    return Occupants([pod for pod in counted if kube.owner(pod)], [pod for pod in counted if not kube.owner(pod)])


def told(pod: Pod) -> dict[str, Any]:
    """A pod of somebody else, by whatever made it."""
    owners = pod["metadata"].get("ownerReferences") or []
    owner = f"{owners[0]['kind']}/{owners[0]['name']}" if owners else "no controller"
    return {"pod": kube.name(pod), "namespace": pod["metadata"]["namespace"], "made_by": owner}
