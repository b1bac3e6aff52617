"""PyTorchJobs that somebody else made, with whatever stands in their pods; and what a kubelet that only pretends is made to say."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from ptjob_call import PYTHON

from tests.components.cluster.running import Cluster

Object = dict[str, Any]
ON_KWOK: Object = {"nodeSelector": {"type": "kwok"}, "tolerations": [{"key": "kwok", "operator": "Exists"}]}
ON_REAL: Object = {"nodeSelector": {"type": "real"}}


def container(name: str, *command: str, **more: Any) -> Object:
    """On the real node; it has two cores for all."""
    return {"name": name, "image": PYTHON, "command": list(command), "resources": {"requests": {"cpu": "10m"}}, **more}


SLEEP = ("sleep", "600")


def job(name: str, *, restart: str = "ExitCode", policy: Object | None = None, workers: int = 0, **pod: Any) -> Object:
    """`pod`: parts of the pods' spec."""
    template = {"spec": {"containers": [container("pytorch", *SLEEP)], "terminationGracePeriodSeconds": 0, **pod}}
    group = {"restartPolicy": restart, "template": template}
    groups = {"Master": {"replicas": 1, **group}, **({"Worker": {"replicas": workers, **group}} if workers else {})}
    spec = {"runPolicy": policy or {}, "pytorchReplicaSpecs": groups}
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": name}, "spec": spec}


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def until_running(cluster: Cluster, namespace: str, *pods: str, phase: str = "Running") -> None:
    deadline = time.monotonic() + 60
    while True:
        found = {
            each["metadata"]["name"]: each["status"].get("phase") for each in cluster.get("pods", "", "-n", namespace)["items"]
        }
        if all(found.get(name) == phase for name in pods):
            return
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def tell(cluster: Cluster, namespace: str, pod: str, **status: Any) -> None:
    """In the place of the pod's kubelet."""
    patch = json.dumps({"status": status})
    words = ("patch", "pod", pod, "--namespace", namespace, "--subresource=status", "--type=merge", "--patch", patch)
    cluster.kubectl(*words)
