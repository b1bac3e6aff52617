"""The cluster for which cluster jobs are recorded: its nodes pretend, and what the job files name is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.components.cluster.running import Cluster
from tests.recorded.recorder import Project

NAMESPACE = "recorded"
HYPERPOD_CRD = Path(__file__).parents[1] / "components" / "hyperpod" / "crd.yaml"
QUEUES: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "localqueues.kueue.x-k8s.io"},
    "spec": {
        "group": "kueue.x-k8s.io",
        "names": {"kind": "LocalQueue", "plural": "localqueues"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
"""Of Kueue no more than this: a queue is there."""


def prepared(cluster: Cluster, folder: Path) -> Project:
    """A project on `cluster`, in the namespace that the job files name."""
    cluster.make_namespace(NAMESPACE)
    cluster.make_volumes(NAMESPACE, 2)
    cluster.kubectl("apply", "-f", str(HYPERPOD_CRD))
    cluster.apply([QUEUES])
    cluster.kubectl("wait", "--for=condition=Established", "--all", "crd", "--timeout=30s")
    claim = {"accessModes": ["ReadWriteMany"], "storageClassName": "test-shared", "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"namespace": NAMESPACE}
    cluster.apply(
        [
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "datasets", **metadata}, "spec": claim},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "trainer", **metadata}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hf", **metadata}, "stringData": {"token": "hush"}},
            {"apiVersion": "kueue.x-k8s.io/v1beta1", "kind": "LocalQueue", "metadata": {"name": "team-a", **metadata}},
            {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1000},
        ]
    )
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/datasets", "--namespace", NAMESPACE, "--timeout=60s")
    config = json.loads(cluster.kubectl("config", "view", "--minify", "--output=json"))
    replaced = {
        config["clusters"][0]["cluster"]["server"]: "SERVER",
        str(cluster.kubeconfig): "KUBECONFIG",
        config["current-context"]: "CONTEXT",
        f"{NAMESPACE}-0": "VOLUME",  # which of the two the claim got is chance
        f"{NAMESPACE}-1": "VOLUME",
    }
    return Project(folder, {"KUBECONFIG": str(cluster.kubeconfig)}, replaced)
