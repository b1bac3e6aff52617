"""Nodes of one test: pretended p5.48xlarge, or others, with a label and a taint of their own, so that nobody else's pods go there."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cm_api import Api, until
from fit_situations import Manifest, pod_manifest

from tests.components.cluster.nodes import fake_nodes

LABEL = "trainyard-test/team"
TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists"}


@dataclass
class Nodes:
    """Made in the API server; `names` in the order of their numbers."""

    api: Api
    label: str
    manifests: list[Manifest]
    busy: list[Manifest] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        return [node["metadata"]["name"] for node in self.manifests]

    def job(self, **changes: Any) -> Manifest:
        """A job file for these nodes."""
        cluster = {"node_selector": {LABEL: self.label}, "tolerations": [TOLERATION], **changes.pop("cluster", {})}
        resources = {"instance_type": "ml.p5.48xlarge", **changes.pop("resources", {})}
        return {
            "name": "a-job",
            "run": "torchrun train.py",
            "target": "hyperpod",
            "cluster": cluster,
            "resources": resources,
            **changes,
        }

    def put(
        self, name: str, namespace: str, number: int, requests: Manifest, spec: Manifest | None = None, **more: Any
    ) -> Manifest:
        """A pod on the node of this number, without asking the scheduler; `spec`: more of it."""
        limits = {key: value for key, value in requests.items() if "/" in key}
        container = {"name": "main", "image": "local.test/pause:1", "resources": {"requests": requests, "limits": limits}}
        pod = pod_manifest(name, namespace, {"nodeName": self.names[number], "containers": [container], **(spec or {})}, **more)
        self.api.create_all([pod])
        return pod


@contextmanager
def nodes(
    api: Api,
    count: int,
    *,
    kind: str = "ml.p5.48xlarge",
    labels: Mapping[str, str] | None = None,
    holds: Mapping[str, int] | None = None,
    offers: Mapping[str, int] | None = None,
    team: str | None = None,
    **changes: Any,
) -> Iterator[Nodes]:
    """`count` nodes in one zone, Ready, with more `labels`; `changes` go into each spec. Removed behind the block.

    `holds`: their devices, in place of those that the type has; `offers`: those that are handed out, where it is another number.
    `team`: the label of nodes that were made before.
    """
    own, first = team or secrets.token_hex(4), 10_000 + secrets.randbelow(1 << 20)
    manifests = fake_nodes(kind, count, first=first, zones=("us-west-2a",))
    for node in manifests:
        its = {key: value for key, value in node["metadata"]["labels"].items() if key != "type"}
        node["metadata"]["labels"] = {**its, LABEL: own, **(labels or {})}
        node["spec"] = {**node["spec"], "taints": [TAINT], **changes}
        if holds is not None:
            plain = {name: text for name, text in node["status"]["capacity"].items() if "/" not in name}
            told = [{name: str(number) for name, number in each.items()} for each in (holds, {**holds, **(offers or {})})]
            node["status"] = {"capacity": {**plain, **told[0]}, "allocatable": {**plain, **told[1]}}
    try:
        api.create_all(manifests)
        names = {node["metadata"]["name"] for node in manifests}
        until(lambda: names <= set(ready(api, own)), "the nodes to be Ready")
        yield Nodes(api, own, manifests)
    finally:
        api.delete_all(manifests)


def ready(api: Api, label: str) -> list[str]:
    return [
        node["metadata"]["name"]
        for node in api.list("/api/v1/nodes", labelSelector=f"{LABEL}={label}")
        if any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions") or [])
        and not any(taint["key"].endswith("not-ready") for taint in node["spec"].get("taints") or [])
    ]
