"""A stand-in for Kubernetes on loopback that only lists: nodes, pods and events, as a test has written them, or a refusal.

What a real API server makes of the same calls: test_hyperpod_on_nodes.py.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.components.aws.hyperpod import EKS_ARN

Manifest = dict[str, Any]
PREFIX = "sagemaker.amazonaws.com/"
READY = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": "2026-11-29T10:00:00Z"}
GPU_READY = {"type": "AcceleratedHardwareReady", "status": "True", "reason": "NvidiaGPUIsReady"}
"""The EKS node monitoring agent looks after it."""

OFFERED = {"cpu": "192", "memory": "2048Gi", "pods": "110", "nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "32"}


@dataclass
class Kube:
    kubeconfig: Path
    nodes: list[Manifest] = field(default_factory=list)
    pods: list[Manifest] = field(default_factory=list)
    events: list[Manifest] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Collections that this user may not list."""
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Manifest]:
        self.asked.append(path)
        what = path.rpartition("/")[2]
        if what in self.refused:
            message = f'{what} is forbidden: User "reader" cannot list resource "{what}" in API group "" at the cluster scope'
            words = {"status": "Failure", "reason": "Forbidden", "message": message, "code": 403}
            return 403, {"kind": "Status", **words}
        parts = path.strip("/").split("/")
        if parts[:3] == ["api", "v1", "namespaces"] and len(parts) == 4:
            return 200, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": what}, "status": {"phase": "Active"}}
        if (parts[0] == "apis" and len(parts) == 2) or "configmaps" in parts:  # a group that nobody installed, a ConfigMap
            return 404, {
                "kind": "Status",
                "status": "Failure",
                "reason": "NotFound",
                "message": f"{what} not found",
                "code": 404,
            }
        items = {"nodes": self.nodes, "pods": self.pods, "events": self.events}.get(what, [])
        label = query.get("labelSelector", [""])[0].partition("=")
        if label[0]:
            items = [each for each in items if each["metadata"]["labels"].get(label[0]) == label[2]]
        on = [each[14:] for each in query.get("fieldSelector", [""])[0].split(",") if each.startswith("spec.nodeName=")]
        items = [each for each in items if not on or each["spec"].get("nodeName") == on[0]]
        return 200, {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items, "groups": []}

    def written(self, name: str = EKS_ARN, context: str = "here") -> Path:
        """The kubeconfig, with the cluster under that name."""
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.address}}],
            "users": [{"name": "me", "user": {"token": "t"}}],
            "contexts": [{"name": context, "context": {"cluster": name, "user": "me"}}],
            "current-context": context,
        }
        self.kubeconfig.write_text(json.dumps(document))
        return self.kubeconfig


@contextmanager
def kube(kubeconfig: Path) -> Iterator[Kube]:
    made = Kube(kubeconfig)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            status, document = made.answer(parts.path, parse_qs(parts.query))
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: Any) -> None:
            """Nothing on stderr."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        made.address = f"http://127.0.0.1:{server.server_address[1]}"
        made.written()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def node(
    id: str,
    *,
    name: str = "",
    type: str = "ml.p5.48xlarge",
    group: str = "workers",
    labels: dict[str, str] | None = None,
    conditions: list[Manifest] | None = None,
    details: Any = None,
    taints: list[Manifest] | None = None,
    cluster: str = "trainyard",
) -> Manifest:
    """As HyperPod makes it, healthy; `labels` of HyperPod without their prefix, "" takes one away."""
    given = {
        "compute-type": "hyperpod",
        "cluster-name": cluster,
        "instance-group-name": group,
        "node-health-status": "Schedulable",
    }
    hyperpod = {key: value for key, value in (given | (labels or {})).items() if value}
    annotation = details if isinstance(details, str) else json.dumps(details)
    return {
        "metadata": {
            "name": name or f"hyperpod-{id}",
            "uid": id,
            "labels": {
                "node.kubernetes.io/instance-type": type,
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": "us-east-1a",
                **{f"{PREFIX}{key}": value for key, value in hyperpod.items()},
            },
            "annotations": {} if details is None else {f"{PREFIX}fault-details": annotation},
        },
        "spec": {"providerID": f"aws:///us-east-1a/{id}", **({"taints": taints} if taints else {})},
        "status": {
            "allocatable": OFFERED,
            "capacity": OFFERED,
            "conditions": [READY, *([GPU_READY] if conditions is None else conditions)],
        },
    }


def pod(node: str, name: str, *, namespace: str = "team", labels: dict[str, str] | None = None, owner: str = "") -> Manifest:
    """`owner`: KIND/NAME."""
    kind, _, its = owner.partition("/")
    owners = [{"kind": kind, "name": its, "controller": True}] if owner else []
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}, "ownerReferences": owners},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
