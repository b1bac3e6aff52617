"""manage_ray.py called as a program, in one namespace of the test cluster."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.calling import SKILLS, Answer
from tests.calling import call as run
from tests.components.cluster.nodes import FAKE_TOLERATION
from tests.components.cluster.running import Cluster

__all__ = ["Answer"]
PROGRAM = SKILLS / "ray-manager" / "src" / "manage_ray.py"
HEAD = {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray", "image": "any"}]}}}
"""The least that the API server takes for a head."""
RUN_ID, OTHER_RUN_ID = "0123456789abcdef", "fedcba9876543210"
DEADLINE_S = 180
COMMON = ("--ray-version", "2.60.0")
FAKE = ("--image", "fake:1", *COMMON, "--node-selector", "type=kwok", "--toleration", json.dumps(FAKE_TOLERATION))
# Ray itself takes 750 MiB in the head and 250 MiB in a worker; its object store is the size of a toy.
REAL_RAY = ("--ray-start", "num-cpus=1", "--ray-start", "object-store-memory=100000000")
REAL = ("--image", "local.test/ray:1", *COMMON, "--node-selector", "type=real", "--cpu", "100m", "--memory", "3Gi", *REAL_RAY)


def call(kubeconfig: Path, namespace: str, *words: str) -> Answer:
    """Runs the program to its end; stdout is lines of JSON, the document last."""
    verb, *rest = words
    env = {"KUBECONFIG": str(kubeconfig)}
    return run(PROGRAM, verb, "--namespace", namespace, *rest, env=env, timeout_s=DEADLINE_S, streams=True)


@dataclass(frozen=True)
class Ray:
    cluster: Cluster
    namespace: str
    user: Path | None = None

    def __call__(self, *words: str) -> Answer:
        return call(self.user or self.cluster.kubeconfig, self.namespace, *words)

    def create(self, name: str, *words: str, kind: str = "raycluster", run_id: str = RUN_ID, nodes: int = 1) -> Answer:
        return self("create", name, "--kind", kind, "--run-id", run_id, "--nodes", str(nodes), *words)

    def get(self, kind: str, name: str = "", *words: str) -> dict[str, Any]:
        return self.cluster.get(kind, name, "--namespace", self.namespace, *words)

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.cluster.apply(list(manifests), "--namespace", self.namespace)

    def put(self, kind: str, name: str, spec: dict[str, Any], status: dict[str, Any], run_id: str = RUN_ID) -> None:
        """An object of that run with that status, and nobody's to reconcile."""
        spec = {"managedBy": "kueue.x-k8s.io/multikueue", **spec}
        self.apply(
            {"apiVersion": "ray.io/v1", "kind": kind, "metadata": {"name": name, "labels": ours(name, run_id)}, "spec": spec}
        )
        patch = ("patch", kind, name, "--namespace", self.namespace, "--subresource=status", "--type=merge", "--patch")
        self.cluster.kubectl(*patch, json.dumps({"status": status}))

    def put_job(self, name: str, status: dict[str, Any], run_id: str = RUN_ID, **spec: Any) -> None:
        self.put("RayJob", name, {"entrypoint": "true", "rayClusterSpec": {"headGroupSpec": HEAD}, **spec}, status, run_id)

    def notes(self, name: str) -> dict[str, str]:
        """What `submit` wrote on a RayCluster."""
        found = self.get("raycluster", name)["metadata"].get("annotations") or {}
        return {key: value for key, value in found.items() if key.endswith("submission")}

    def may(self, name: str, *rules: dict[str, Any]) -> Ray:
        """The same, as a user with these rules and no others."""
        return Ray(self.cluster, self.namespace, self.cluster.user(name, self.namespace, rules=rules))


def ours(name: str, run_id: str = RUN_ID) -> dict[str, str]:
    """The labels of what a run made."""
    return {"app.kubernetes.io/managed-by": "trainyard", "trainyard.dev/run": name, "trainyard.dev/run-id": run_id}


def rule(group: str, resources: str, verbs: str) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split()}
