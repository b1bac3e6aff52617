"""The objects that the played operator makes for a job: a pod a node, and a Service for their names."""

from __future__ import annotations

import copy
from typing import Any

from tests.components.hyperpod import launcher

Object = dict[str, Any]
JOB = "test.sagemaker.amazonaws.com/job-uid"
"""Label of the pods. The real operator's own labels are not documented, so nothing outside this folder may rely on one."""
VOLUME = "hyperpod-agent"


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


def nodes(job: Object) -> list[tuple[str, Object]]:
    """(name of the pod, its template), in the order of ranks."""
    name = job["metadata"]["name"]
    return [
        (f"{name}-{group['name']}-{index}", group["template"])
        for group in job["spec"]["replicaSpecs"]
        for index in range(group.get("replicas", 1))
    ]


def is_driven(job: Object) -> bool:
    """Whether real launchers wait for the operator's word: not for a plain program, nor on nodes that only pretend."""
    spec = job["spec"]["replicaSpecs"][0]["template"]["spec"]
    words = spec["containers"][0].get("command") or []
    return words[:1] == ["hyperpodrun"] and (spec.get("nodeSelector") or {}).get("type") != "kwok"


def pod(job: Object, rank: int) -> Object:
    named = nodes(job)
    name, template = named[rank]
    metadata = copy.deepcopy(template.get("metadata") or {})
    labels = {**(metadata.get("labels") or {}), JOB: job["metadata"]["uid"]}
    spec = copy.deepcopy(template["spec"])
    # The operator counts restarts itself.
    spec.update(restartPolicy="Never", hostname=name, subdomain=job["metadata"]["name"])
    container = spec["containers"][0]
    container["env"] = [*container.get("env", []), *_environment(job, len(named))]
    if is_driven(job):
        container.setdefault("volumeMounts", []).append({"name": VOLUME, "mountPath": launcher.IN_PODS, "readOnly": True})
        host = {"path": str(launcher.folder()), "type": "Directory"}
        spec.setdefault("volumes", []).append({"name": VOLUME, "hostPath": host})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**owned(job, name, labels), "annotations": metadata.get("annotations") or {}},
        "spec": spec,
    }


def _environment(job: Object, count: int) -> list[Object]:
    """The operator's, and of a driven job the paths that an image with the launcher would have."""
    variables = {"NNODES": str(count), "NPROC_PER_NODE": str(job["spec"].get("nprocPerNode", "1"))}
    paths = launcher.in_pods() if is_driven(job) else {}
    return [{"name": name, "value": value} for name, value in {**variables, **paths}.items()]
