"""The objects that the played operator makes for a job: a pod a node, a Service for their names, its launcher in a ConfigMap."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

Object = dict[str, Any]
JOB = "test.sagemaker.amazonaws.com/job-uid"
"""Label of the pods. The real operator's own labels are not documented, so nothing outside this folder may rely on one."""
LAUNCHER = "played-hyperpodrun"
FOLDER = "/opt/played-hyperpod"
MASTER_PORT = 23456


def owned(job: Object, name: str, labels: dict[str, str]) -> Object:
    reference = {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {"name": name, "labels": labels, "ownerReferences": [reference]}


def service(job: Object) -> Object:
    """Headless, so that a pod is found by name before it is ready."""
    labels = {JOB: job["metadata"]["uid"]}
    spec = {"clusterIP": "None", "selector": labels, "publishNotReadyAddresses": True}
    return {"apiVersion": "v1", "kind": "Service", "metadata": owned(job, job["metadata"]["name"], labels), "spec": spec}


def launcher() -> Object:
    text = (Path(__file__).parent / "hyperpodrun.py").read_text()
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": LAUNCHER}, "data": {"hyperpodrun.py": text}}


def nodes(job: Object) -> list[tuple[str, Object]]:
    """(name of the pod, its template), in the order of ranks."""
    name = job["metadata"]["name"]
    return [
        (f"{name}-{group['name']}-{index}", group["template"])
        for group in job["spec"]["replicaSpecs"]
        for index in range(group.get("replicas", 1))
    ]


def pod(job: Object, rank: int) -> Object:
    named = nodes(job)
    name, template = named[rank]
    metadata = copy.deepcopy(template.get("metadata") or {})
    labels = {**(metadata.get("labels") or {}), JOB: job["metadata"]["uid"]}
    spec = copy.deepcopy(template["spec"])
    # The operator counts restarts itself.
    spec.update(restartPolicy="Never", hostname=name, subdomain=job["metadata"]["name"])
    container = spec["containers"][0]
    container["env"] = [*container.get("env", []), *_environment(job, rank, named[0][0], len(named))]
    if container.get("command", [])[:1] == ["hyperpodrun"]:
        container["command"] = ["python3", f"{FOLDER}/hyperpodrun.py", *container["command"][1:]]
        container.setdefault("volumeMounts", []).append({"name": LAUNCHER, "mountPath": FOLDER})
        spec.setdefault("volumes", []).append({"name": LAUNCHER, "configMap": {"name": LAUNCHER}})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**owned(job, name, labels), "annotations": metadata.get("annotations") or {}},
        "spec": spec,
    }


def _environment(job: Object, rank: int, master: str, count: int) -> list[Object]:
    variables = {
        "PET_NNODES": count,
        "PET_NODE_RANK": rank,
        "PET_NPROC_PER_NODE": job["spec"].get("nprocPerNode", "1"),
        "MASTER_ADDR": f"{master}.{job['metadata']['name']}",
        "MASTER_PORT": MASTER_PORT,
    }
    return [{"name": name, "value": str(value)} for name, value in variables.items()]
