"""The parts of a manifest that are the same for every engine: the job's metadata, and what its pods get.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trainyard_kube as kube
from trainyard_kube import Object
from trainyard_platform import with_platform
from trainyard_podjob import OWN_GROUP, PodJob

DIGEST = "trainyard.dev/spec-digest"
EFA, HOSTNAME = "vpc.amazonaws.com/efa", "kubernetes.io/hostname"


def template(path: Path) -> Object:
    import yaml

    loaded: Object = _unaliased(yaml.safe_load(path.read_text(encoding="utf-8")))
    return loaded


def _unaliased(thing: Any) -> Any:
    """YAML anchors give one dict in two places; an edit of one must not be an edit of both."""
    if isinstance(thing, dict):
        return {key: _unaliased(value) for key, value in thing.items()}
    return [_unaliased(item) for item in thing] if isinstance(thing, list) else thing


def metadata(job: PodJob, **own: str) -> Object:
    """Of the job's object. `own`: further annotations."""
    return {"name": job.name, "labels": job_labels(job), "annotations": {DIGEST: job.digest, **own}}


def fill_pod(template: Object, job: PodJob, own: dict[str, str], spread_labels: Object) -> None:
    """A pod template {metadata, spec}, but for its command, resources and volumes. `own`: the engine's variables."""
    template["metadata"]["labels"] = kube.labels(job.name, job.run_id)
    pod = template["spec"]
    pod["terminationGracePeriodSeconds"] = job.termination_s
    pod["containers"][0].update(image=job.image, env=environment(job, own))
    place(job, pod)
    pod.update(spread(job, spread_labels))
    if job.avoid_nodes:
        pod.setdefault("affinity", {})["nodeAffinity"] = away_from(job.avoid_nodes)


def told(
    job: PodJob,
    cluster: kube.Cluster,
    thing: Object,
    *,
    engine: str,
    api_version: str,
    pod_selector: str,
    container: str,
    **more: Any,
) -> Object:
    """What `create` answers about the object that it made or found."""
    return {
        "name": job.name,
        "run_id": job.run_id,
        "engine": engine,
        "api_version": api_version,
        "uid": thing["metadata"].get("uid"),
        "pod_selector": pod_selector,
        "container": container,
        "log_format": "trainyard",
        "run_dir": job.run_dir,
        **more,
        "cluster": cluster.identity(),
    }


def claims(thing: Any) -> list[str]:
    """Names of the volume claims that an object mounts, wherever in it they stand."""

    def inside(thing: Any) -> set[str]:
        if isinstance(thing, dict):
            own = {str(thing["claimName"])} if isinstance(thing.get("claimName"), str) else set()
            return own.union(*(inside(value) for value in thing.values()))
        return set().union(*(inside(value) for value in thing)) if isinstance(thing, list) else set()

    return sorted(inside(thing["spec"]))


def job_labels(job: PodJob) -> Object:
    """Of the job's object. Kueue reads its queue and, there, the priority class of a workload from labels."""
    labels: Object = kube.labels(job.name, job.run_id)
    if job.queue:
        labels["kueue.x-k8s.io/queue-name"] = job.queue
        if job.priority:
            labels["kueue.x-k8s.io/priority-class"] = job.priority
    return labels


def environment(job: PodJob, own: dict[str, str]) -> list[Object]:
    """Variables of the container: ours, the engine's `own`, the job's, and by reference the secrets."""
    ours = {
        "TRAINYARD_RUN_ID": job.run_id,
        "TRAINYARD_RUN_DIR": job.run_dir,
        "TRAINYARD_CHECKPOINTS": f"{job.run_dir}/checkpoints",
        "TRAINYARD_MAX_RESTARTS": str(job.max_restarts),
        "TRAINYARD_STOP_GRACE_S": f"{job.grace_s:g}",
        "TRAINYARD_HANG": job.hang,
        "TRAINYARD_HANG_AFTER_S": "auto" if job.hang_after_s is None else f"{job.hang_after_s:g}",
        "PYTHONUNBUFFERED": "1",
    }
    if job.log_pattern is not None:
        ours["TRAINYARD_LOG_PATTERN"] = job.log_pattern.replace("$", "$$")  # Kubernetes expands $(NAME)
    if job.nodes > 1 and not job.claim:
        del ours["TRAINYARD_RUN_DIR"]  # one folder for all pods is what it stands for: the launchers look for their key in it
    plain: list[Object] = [{"name": name, "value": value} for name, value in {**ours, **own, **job.env}.items()]
    return plain + [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
        for variable, (name, key) in job.secrets.items()
    ]


def resources(job: PodJob) -> Object:
    """Unless limits are asked for: CPU is requested and not limited, as throttled data workers starve the GPUs. Memory is both: what
    the node has, no more."""
    limits = {
        "cpu": job.limit_cpu,
        "memory": job.limit_memory or job.memory,
        job.gpu_resource: str(job.gpus) if job.gpus else None,
        EFA: str(job.efa) if job.efa else None,
    }
    parts = {"requests": {"cpu": job.cpu, "memory": job.memory}, "limits": limits}
    kept = {part: {name: value for name, value in values.items() if value} for part, values in parts.items()}
    return {part: values for part, values in kept.items() if values}


def shm_size(job: PodJob) -> str:
    """Of /dev/shm. Pages count against the container's memory only when used, so half of its limit leaves the trainer the rest;
    without a limit 8Gi beside GPUs (NCCL and pinned data workers), else 1Gi: an unbounded one could eat the node."""
    from kubernetes.utils.quantity import parse_quantity

    if job.shm:
        return job.shm
    if memory := job.memory or job.limit_memory:
        return str(int(parse_quantity(memory) / 2))
    return "8Gi" if job.gpus else "1Gi"


def place(job: PodJob, pod: Object) -> None:
    """Where the pod may run, and as whom. All in one zone is the caller's node selector: the volume decides which. The image's
    architecture is known from the instance type alone; another one is said by the job's node selector."""
    pod["nodeSelector"] = with_platform(job.node_selector)
    if job.tolerations:
        pod["tolerations"] = [dict(each) for each in job.tolerations]
    if job.service_account:
        pod["serviceAccountName"] = job.service_account
        pod.pop("automountServiceAccountToken", None)
    pod.setdefault("securityContext", {}).update(security(job))
    if job.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in job.image_pull_secrets]
    if job.priority and not job.queue:  # with a queue it is the workload's, a label of the job
        pod["priorityClassName"] = job.priority


def security(job: PodJob) -> Object:
    """Of a pod, beyond what stands in its template. A new volume belongs to root: by the fsGroup a process of any user may write to it
    (decision 0026)."""
    group = OWN_GROUP if job.fs_group is None and job.owns_volume else job.fs_group
    named = {"runAsUser": job.run_as_user, "runAsGroup": job.run_as_group, "fsGroup": group}
    context: Object = {key: id for key, id in named.items() if id is not None}
    if job.run_as_user:
        context["runAsNonRoot"] = True  # a namespace at the level `restricted` wants it written
    # Once its root belongs to the group, no pod goes through all the files again.
    return {**context, "fsGroupChangePolicy": "OnRootMismatch"} if group is not None else context


def away_from(nodes: Sequence[str]) -> Object:
    """By the nodes' names: the label kubernetes.io/hostname may be another word."""
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in sorted(set(nodes))]
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": fields}]}}


def spread(job: PodJob, labels: Object) -> Object:
    """Part of a pod's spec: pods with these labels over the values of `spread_key`."""
    ours = {"labelSelector": {"matchLabels": labels}}
    if job.spread_key == HOSTNAME:
        # maxSkew 1 would still put four pods on two nodes; anti-affinity means one pod a node.
        term = {"topologyKey": HOSTNAME, **ours}
        return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}
    if not job.spread_key:
        return {}
    constraint = {"maxSkew": 1, "topologyKey": job.spread_key, "whenUnsatisfiable": "DoNotSchedule", **ours}
    return {"topologySpreadConstraints": [constraint]}
