"""The manifests: the templates in assets/ with what was asked filled in, and what every node's pod and the submitter's gets."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from trainyard_kube import Object, labels
from trainyard_podjob_manifest import fill_pod, metadata, place, resources, shm_size, template

from ray_spec import RaySpec, driver

ASSETS = Path(__file__).resolve().parent.parent / "assets"
CONTAINER = "ray"
"""Of the pods that this program asks for; others call theirs as they like (ray_groups.ray_container)."""
ROLE = "trainyard.dev/role"
PROCS = "trainyard.dev/procs-per-node"


def generate_raycluster_yaml(spec: RaySpec) -> Object:
    """The RayCluster: the head is node 0, so that N nodes are the N pods that `fit` placed."""
    cluster = template(ASSETS / "raycluster.yaml")
    cluster["metadata"] = metadata(spec, **{PROCS: str(spec.procs)})
    head, workers = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"][0]
    cluster["spec"]["rayVersion"] = spec.ray_version
    for group in (head, workers):
        fill_node(group["template"], spec)
        # every value is a string: KubeRay's map[string]string refuses 8080 and true
        group["rayStartParams"] = {key: str(value) for key, value in spec.ray_start.items()}
    for key in ("replicas", "minReplicas", "maxReplicas"):
        workers[key] = spec.nodes - 1
    if spec.nodes == 1:
        cluster["spec"]["workerGroupSpecs"] = []
    return cluster


def generate_rayjob_yaml(spec: RaySpec) -> Object:
    """The RayJob that makes such a cluster, runs the command on its head and removes the cluster."""
    job = template(ASSETS / "rayjob.yaml")
    job["metadata"] = metadata(spec, **{PROCS: str(spec.procs)})
    job["spec"]["entrypoint"] = shlex.join(driver(spec.command, spec.nodes, spec.procs))
    job["spec"]["ttlSecondsAfterFinished"] = spec.ttl_s
    job["spec"]["rayClusterSpec"] = generate_raycluster_yaml(spec)["spec"]
    fill_submitter(job["spec"]["submitterPodTemplate"], spec)
    return job


def manifest(spec: RaySpec) -> Object:
    return generate_rayjob_yaml(spec) if spec.kind == "rayjob" else generate_raycluster_yaml(spec)


# --- the pods ----------------------------------------------------------------------------------------------------


def fill_node(template: Object, spec: RaySpec) -> None:
    """Edits the pod template of the head or of the workers."""
    fill_pod(template, spec, variables_of_ray(spec), {**labels(spec.name, spec.run_id), "ray.io/is-ray-node": "yes"})
    pod, container = template["spec"], template["spec"]["containers"][0]
    fill_resources(container["resources"], spec)
    volume = {"persistentVolumeClaim": {"claimName": spec.claim}} if spec.claim else {"emptyDir": {}}
    mount(pod, container, "trainyard", "/trainyard", volume)
    mount(pod, container, "shm", "/dev/shm", {"emptyDir": {"medium": "Memory", "sizeLimit": shm_size(spec)}})


def fill_submitter(template: Object, spec: RaySpec) -> None:
    template["metadata"]["labels"] = {**labels(spec.name, spec.run_id), ROLE: "submitter"}
    place(spec, template["spec"])
    container = template["spec"]["containers"][0]
    container["image"] = spec.image
    container["env"] = [{"name": name, "value": value} for name, value in spec.env.items()]


def variables_of_ray(spec: RaySpec) -> dict[str, str]:
    return {
        # Ray kills a stopped driver after 3 s of its own, too short to save; it reads a whole number.
        "RAY_JOB_STOP_WAIT_TIME_S": str(math.ceil(spec.grace_s)),
        # The driver's log is where the ranks' lines are read: no line left out as a repeat, no colour codes.
        "RAY_DEDUP_LOGS": "0",
        "RAY_COLOR_PREFIX": "0",
    }


def fill_resources(template: dict[str, Any], spec: RaySpec) -> None:
    """Ray counts what the limits say; without a CPU limit it takes the request."""
    for part, values in resources(spec).items():
        template[part].update(values)
    devices = {name: amount for name, amount in template["limits"].items() if name not in ("cpu", "memory")}
    template["requests"].update(devices)


def mount(pod: Object, container: Object, name: str, path: str, volume: Object) -> None:
    pod["volumes"].append({"name": name, **volume})
    container["volumeMounts"].append({"name": name, "mountPath": path})
