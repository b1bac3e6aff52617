"""`pytorchjob-manager status` of a job of many pods against the client library's own import and list of the same pods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import api_server
from benchmarks.measuring import Comparison, Contestant, Group, interleave, progress

SOURCE = Path("skills", "pytorchjob-manager", "src")
OURS, PEER = "status", "import kubernetes, list the job's pods"
MAX_RATIO, MAX_CALLS = 1.2, 2
PODS = 1000
AT_ONCE = 8
RUN_ID = "0123456789abcdef"
LABELS = {"app.kubernetes.io/managed-by": "trainyard", "trainyard.dev/run": "big", "trainyard.dev/run-id": RUN_ID}
LISTING = """
from kubernetes import client, config
config.load_kube_config()
pods = client.CoreV1Api().list_namespaced_pod("default", label_selector="trainyard.dev/run=big").items
assert len(pods) == {pods}, len(pods)
"""
COUNTING = """
import sys
sys.path.insert(0, sys.argv[1])
import trainyard_kube as kube
from ptjob_status import get_job_status
cluster = kube.connect(kube.Where())
seen = get_job_status(cluster, "big")
assert seen["state"] == "running", seen["state"]
print(cluster.requests)
"""


def run(root: Path, folder: Path, pods: int, repeats: int) -> Group:
    """Seconds of whole processes, their start included; the number of API calls in a note."""
    with api_server.populated(folder, 0) as kubeconfig:
        progress(f"making a job of {pods} pods")
        Writer(kubeconfig).fill(pods)
        env = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        program = [sys.executable, str(root / SOURCE / "manage_pytorchjob.py"), "status", "big", "--limit", str(pods)]
        listing = [sys.executable, "-c", LISTING.format(pods=pods)]
        series = interleave({OURS: _process(program, env), PEER: _process(listing, env)}, repeats)
        counting = [sys.executable, "-c", COUNTING, str(root / SOURCE)]
        calls = int(subprocess.run(counting, env=env, check=True, capture_output=True, text=True).stdout)
    verdict = "met" if calls <= MAX_CALLS else "MISS"
    notes = [f"API calls: {calls} (goal <= {MAX_CALLS}: {verdict})"]
    comparison = Comparison(f"status of a job of {pods} pods", series[OURS], series[PEER], MAX_RATIO)
    return Group(f"status of a job of {pods} pods", list(series.values()), [comparison], notes)


def _process(command: list[str], env: dict[str, str]) -> Contestant:
    def once() -> float:
        started = time.monotonic()
        subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - started

    return once


class Writer:
    """Makes the kind, the job and its running pods: there is no operator here."""

    def __init__(self, kubeconfig: Path) -> None:
        import urllib3

        config = json.loads(kubeconfig.read_text())
        server = config["clusters"][0]["cluster"]
        self.url = server["server"]
        self.pool = urllib3.PoolManager(maxsize=AT_ONCE, ca_certs=server["certificate-authority"])
        token = config["users"][0]["user"]["token"]
        self.headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def fill(self, pods: int) -> None:
        self.send("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", kind())
        deadline = time.monotonic() + 30
        while not self.send("POST", "/apis/kubeflow.org/v1/namespaces/default/pytorchjobs", job(pods), may_fail=True):
            if time.monotonic() > deadline:
                raise RuntimeError("the kind PyTorchJob is not served after 30 s")
            time.sleep(0.2)
        with ThreadPoolExecutor(AT_ONCE) as workers:
            list(workers.map(self._make_pod, range(pods)))

    def _make_pod(self, number: int) -> None:
        path, body = "/api/v1/namespaces/default/pods", pod(number)
        self.send("POST", path, body)
        self.send("PUT", f"{path}/{body['metadata']['name']}/status", body)

    def send(self, verb: str, path: str, body: dict[str, Any], *, may_fail: bool = False) -> bool:
        answer = self.pool.request(verb, self.url + path, body=json.dumps(body), headers=self.headers)
        if answer.status >= 300 and not may_fail:
            raise RuntimeError(f"{verb} {path}: {answer.status} {answer.data[:300]!r}")
        return bool(answer.status < 300)


def kind() -> dict[str, Any]:
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    names = {"kind": "PyTorchJob", "plural": "pytorchjobs", "singular": "pytorchjob"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": "pytorchjobs.kubeflow.org",
            "annotations": {"api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/78458"},
        },
        "spec": {"group": "kubeflow.org", "scope": "Namespaced", "names": names, "versions": [version]},
    }


def job(pods: int) -> dict[str, Any]:
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "big", "labels": LABELS},
        "spec": {"pytorchReplicaSpecs": {"Master": {"replicas": 1}, "Worker": {"replicas": pods - 1}}},
        "status": {"conditions": [{"type": "Running", "status": "True"}]},
    }


def pod(number: int) -> dict[str, Any]:
    """api_server's pod, running, with the labels of our job and of the operator."""
    made = api_server.pod(number)
    role, index = ("master", 0) if number == 0 else ("worker", number - 1)
    operator = {"job-name": "big", "replica-type": role, "replica-index": str(index)}
    labels = {**LABELS, **{f"training.kubeflow.org/{key}": value for key, value in operator.items()}}
    made["metadata"] = {"name": f"big-{role}-{index}", "labels": labels}
    started = "2026-11-01T00:00:00Z"
    container = {"name": "pytorch", "image": "i", "imageID": "i", "ready": True, "restartCount": 0}
    made["status"] = {
        "phase": "Running",
        "conditions": [
            {"type": kind, "status": "True"} for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ],
        "containerStatuses": [{**container, "state": {"running": {"startedAt": started}}}],
        "startTime": started,
    }
    return made
