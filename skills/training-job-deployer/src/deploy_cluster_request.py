"""One job file -> the argument lists that ask for its network, its volume and its objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from deploy_cluster_calls import INSTANCE_TYPE
from deploy_local import checkpoint_variables
from job_schema import RAY_ENGINES, hang_arguments

if TYPE_CHECKING:
    from deploy_plan import Deployment
    from deploy_state import Run
    from job_file import JobFile
    from job_schema import Job

ZONE = "topology.kubernetes.io/zone"
START = "TRAINYARD_SUBMISSION"


def network_arguments(job: Job, fit: dict[str, Any]) -> list[str]:
    """[] without an instance type: the table of settings goes by it. What `auto` means for this job the fit has said."""
    instance_type = (job.resources.instance_type if job.resources else None) or fit.get("instance_type")
    network = str(fit.get("network") or job.network)
    return ["network-env", "--instance-type", str(instance_type), "--network", network] if instance_type else []


def volume_arguments(job: Job, run_id: str, fit: dict[str, Any], where: list[str]) -> list[str]:
    storage = job.checkpoints.storage
    assert storage is not None, "the stage exists only with checkpoints.storage"
    given = {"storage-class": storage.storage_class, "size": storage.size, "claim": storage.claim, "zone": fit.get("zone")}
    return ["ensure-volume", job.name, "--run-id", run_id, "--nodes", str(job.nodes), *_options(given), *where]


def create_arguments(
    deployment: Deployment, run: Run, fit: dict[str, Any], network: dict[str, Any], claim: str | None, where: list[str]
) -> list[str]:
    """The whole job, as one list: what the manager makes of it is the manager's business."""
    job_file, job = deployment.job_file, deployment.job_file.job
    engine = job.engine or "pytorchjob"
    kind = {"kind": engine} if engine in RAY_ENGINES else {"engine": engine}
    assert job.image is not None, "job_cluster.py has asked for it"
    fixed = {
        "run-id": run.run_id,
        **kind,
        "image": job.image.uri,
        "nodes": job.nodes,
        "procs": _procs(job_file, fit),
        "claim": claim,
        "max-restarts": job.monitor.max_restarts,
        "grace-s": f"{job.monitor.stop_grace_s:g}",
        **hang_arguments(job.monitor),
    }
    command = [] if engine == "raycluster" else ["--", *command_words(job_file)]
    repeated = ["--env", start_variable(run), *_environment(deployment, network), *_placement(job, fit)]
    return ["create", job.name, *_options({**fixed, **_pod(job, fit)}), *repeated, *where, *command]


def start_variable(run: Run) -> str:
    """Tells the launcher in the pods which of the user's starts this is: each has a budget of restarts of its own."""
    return f"{START}={run.starts}"


def command_words(job_file: JobFile) -> list[str]:
    """`torchrun` stands for the engine's launcher, however the job file spells it."""
    command = job_file.command
    return ["torchrun", *command.rest] if command.launcher else list(command.words)


def _procs(job_file: JobFile, fit: dict[str, Any]) -> str:
    """`auto` is one an accelerator, and the fit has counted them; without its answer, one."""
    return str(fit.get("procs_per_node") or 1) if job_file.procs == "auto" else job_file.procs


def _pod(job: Job, fit: dict[str, Any]) -> dict[str, Any]:
    """What one pod asks for: as the fit was computed, else as the job file says."""
    own = job.resources
    given = {"cpu": own.cpu, "memory": own.memory, "shm": own.shm} if own else {}
    pod = {key: value for key, value in given.items() if value != "auto"} | (fit.get("pod") or {})
    gpus = pod.get("gpus") or None
    return {
        **{key: pod.get(key) for key in ("cpu", "memory", "shm")},
        "gpus": gpus,
        "gpu-resource": pod.get("gpu_resource") if gpus else None,
        "efa": pod.get("efa") or None,
    }


def _environment(deployment: Deployment, network: dict[str, Any]) -> list[str]:
    """The network's lines first: what the job file sets itself is meant."""
    job = deployment.job_file.job
    table = network.get("env")
    variables = {**(table if isinstance(table, dict) else {}), **checkpoint_variables(deployment), **job.env}
    words = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    return words + [word for name, place in job.secrets.items() for word in ("--secret", f"{name}={place}")]


def _placement(job: Job, fit: dict[str, Any]) -> list[str]:
    """Where the fit found room: the zone is kept, so that all pods are beside each other and beside their volume."""
    cluster = job.cluster
    own = dict(cluster.node_selector) if cluster else {}
    if job.resources and job.resources.instance_type:
        own[INSTANCE_TYPE] = job.resources.instance_type
    # The fit's has the job's labels, and the type as the nodes spell it.
    selector = fit.get("node_selector") or own
    if fit.get("zone"):
        selector = {**selector, ZONE: str(fit["zone"])}
    words = _many("node-selector", [f"{key}={value}" for key, value in selector.items()])
    if cluster is None:
        return words
    words += _many("toleration", [json.dumps(_toleration(each), sort_keys=True) for each in cluster.tolerations])
    words += _many("image-pull-secret", cluster.image_pull_secrets)
    named = {"queue": cluster.queue, "priority": cluster.priority, "service-account": cluster.service_account}
    return words + _options(named)


def _toleration(each: Any) -> dict[str, Any]:
    return {key: value for key, value in msgspec.to_builtins(each).items() if value is not None}


def _many(option: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (f"--{option}", value)]


def _options(values: dict[str, Any]) -> list[str]:
    return [word for name, value in values.items() if value is not None for word in (f"--{name}", str(value))]
