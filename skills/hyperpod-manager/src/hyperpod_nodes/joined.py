"""A HyperPod node from both sides: the instance of SageMaker and the node of Kubernetes, joined by the instance's id.

The node's name is no identity: it changes when the instance is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import trainyard_kube as kube

from hyperpod_api.instances import Instance

PREFIX = "sagemaker.amazonaws.com/"
INSTANCE_ID = re.compile(r"i-[0-9a-f]{8,17}")


@dataclass(frozen=True)
class HyperPodNode:
    instance: Instance | None
    """None: Kubernetes has a node that SageMaker does not list (any more)."""
    node: dict[str, Any] | None
    """None: not registered with Kubernetes, or Kubernetes was not asked."""

    @property
    def id(self) -> str | None:
        return self.instance.id if self.instance else instance_id(self.node or {})

    @property
    def node_name(self) -> str | None:
        return kube.name(self.node) if self.node else None


def instance_id(node: dict[str, Any]) -> str | None:
    """From the provider id (aws:///zone/i-...), else from the name hyperpod-i-..."""
    provider = str((node.get("spec") or {}).get("providerID") or "")
    found = INSTANCE_ID.search(provider.rpartition("/")[2]) or INSTANCE_ID.search(str(node["metadata"]["name"]))
    return found.group() if found else None


def joined(instances: Iterable[Instance], nodes: Iterable[dict[str, Any]]) -> list[HyperPodNode]:
    """One entry for each instance, and one for each node that no instance belongs to: also a second one of the same id, and one whose
    id cannot be read."""
    by_id: dict[str, dict[str, Any]] = {}
    others = []
    for node in nodes:
        id = instance_id(node)
        if id is None or by_id.setdefault(id, node) is not node:
            others.append(node)
    found = [HyperPodNode(each, by_id.pop(each.id, None) if each.id else None) for each in instances]
    return found + [HyperPodNode(None, node) for node in (*by_id.values(), *others)]


def hyperpod_nodes_of(cluster: kube.Cluster) -> list[dict[str, Any]]:
    """Kubernetes' nodes that HyperPod made. Raises ApiError."""
    return cluster.list("/api/v1/nodes", labelSelector=f"{PREFIX}compute-type=hyperpod")
