"""The pod of a job: assets/pod.yaml plus what the request says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trainyard_kube as kube
from ptjob_request import JobRequest

ASSETS = Path(__file__).resolve().parent.parent / "assets"
EFA = "vpc.amazonaws.com/efa"
HOSTNAME = "kubernetes.io/hostname"
Object = dict[str, Any]


def template(name: str) -> Object:
    import yaml

    loaded: Object = yaml.safe_load((ASSETS / name).read_text(encoding="utf-8"))
    return loaded


def metadata(request: JobRequest) -> Object:
    """Of the job itself."""
    labels = kube.labels(request.name, request.run_id)
    if request.queue:
        labels["kueue.x-k8s.io/queue-name"] = request.queue
    return {"name": request.name, "labels": labels, "annotations": {"trainyard.dev/spec-digest": request.digest}}


def make_pod(request: JobRequest, container: str, command: list[str]) -> Object:
    """A pod template: {metadata, spec}. The container is called as the engine wants it."""
    pod = template("pod.yaml")
    pod["metadata"]["labels"] = kube.labels(request.name, request.run_id)
    if request.pod_annotations:
        pod["metadata"]["annotations"] = dict(request.pod_annotations)
    spec, main = pod["spec"], pod["spec"]["containers"][0]
    main.update(name=container, image=request.image, command=command, env=environment(request), resources=resources(request))
    spec["terminationGracePeriodSeconds"] = request.termination_s
    spec["volumes"][0]["emptyDir"]["sizeLimit"] = shm_size(request)
    if request.claim:
        spec["volumes"][1]["persistentVolumeClaim"]["claimName"] = request.claim
    else:
        del spec["volumes"][1], main["volumeMounts"][1]
    _place(request, spec)
    if request.service_account:
        spec["serviceAccountName"] = request.service_account
        del spec["automountServiceAccountToken"]
    if request.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in request.image_pull_secrets]
    if request.priority:
        spec["priorityClassName"] = request.priority
    return pod


def _place(request: JobRequest, spec: Object) -> None:
    """Where the pods may go. All in one zone is the caller's --node-selector: the volume decides which."""
    if request.node_selector:
        spec["nodeSelector"] = dict(request.node_selector)
    if request.tolerations:
        spec["tolerations"] = [dict(each) for each in request.tolerations]
    ours = {"labelSelector": {"matchLabels": {kube.RUN_ID: request.run_id}}}
    if request.spread_key == HOSTNAME:
        # maxSkew 1 would still put four pods on two nodes; anti-affinity means one pod a node.
        term = {"topologyKey": HOSTNAME, **ours}
        spec["affinity"] = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    elif request.spread_key:
        spread = {"maxSkew": 1, "topologyKey": request.spread_key, "whenUnsatisfiable": "DoNotSchedule", **ours}
        spec["topologySpreadConstraints"] = [spread]


def environment(request: JobRequest) -> list[Object]:
    ours = {
        "TRAINYARD_RUN_ID": request.run_id,
        "TRAINYARD_RUN_DIR": request.run_dir,
        "TRAINYARD_CHECKPOINTS": f"{request.run_dir}/checkpoints",
        "TRAINYARD_MAX_RESTARTS": str(request.max_restarts),
        "TRAINYARD_STOP_GRACE_S": f"{request.grace_s:g}",
        "TRAINYARD_HANG": request.hang,
        "TRAINYARD_HANG_AFTER_S": "auto" if request.hang_after_s is None else f"{request.hang_after_s:g}",
        "PYTHONUNBUFFERED": "1",
    }
    if request.nodes > 1 and not request.claim:
        del ours["TRAINYARD_RUN_DIR"]  # one folder for all pods is what it stands for: the launchers look for their key in it
    plain: list[Object] = [{"name": name, "value": value} for name, value in {**ours, **request.env}.items()]
    secret = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        for variable, (name, key) in request.secrets.items()
    ]
    return plain + secret


def resources(request: JobRequest) -> Object:
    """CPU is requested and not limited: throttled data workers starve the GPUs. Memory is both: what the node has, no more."""
    requests = {"cpu": request.cpu, "memory": request.memory}
    limits = {
        "memory": request.memory,
        request.gpu_resource: str(request.gpus) if request.gpus else None,
        EFA: str(request.efa) if request.efa else None,
    }
    parts = {"requests": requests, "limits": limits}
    kept = {part: {name: value for name, value in values.items() if value} for part, values in parts.items()}
    return {part: values for part, values in kept.items() if values}


def shm_size(request: JobRequest) -> str:
    """Of /dev/shm. Pages count against the container's memory only when used, so half of its limit leaves the trainer the rest;
    without a limit 8Gi beside GPUs (NCCL and pinned data workers), else 1Gi: an unbounded one could eat the node."""
    from kubernetes.utils.quantity import parse_quantity

    if request.shm:
        return request.shm
    if request.memory:
        return str(int(parse_quantity(request.memory) / 2))
    return "8Gi" if request.gpus else "1Gi"
