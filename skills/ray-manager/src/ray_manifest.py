"""The manifests: the templates in assets/ with what was asked filled in, and what every node's pod and the submitter's gets."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import Any

from trainyard_kube import Object, labels
from trainyard_podjob import environment, job_labels, place, resources, shm_size, spread

from ray_spec import RaySpec, driver

ASSETS = Path(__file__).resolve().parent.parent / "assets"
ROLE = "trainyard.dev/role"
DIGEST, PROCS = "trainyard.dev/spec-digest", "trainyard.dev/procs-per-node"


def generate_raycluster_yaml(spec: RaySpec) -> Object:
    """The RayCluster: the head is node 0, so that N nodes are the N pods that `fit` placed."""
    cluster = template("raycluster.yaml")
    cluster["metadata"] = metadata(spec)
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
    job = template("rayjob.yaml")
    job["metadata"] = metadata(spec)
    job["spec"]["entrypoint"] = shlex.join(driver(spec.command, spec.nodes, spec.procs))
    job["spec"]["ttlSecondsAfterFinished"] = spec.ttl_s
    job["spec"]["rayClusterSpec"] = generate_raycluster_yaml(spec)["spec"]
    fill_submitter(job["spec"]["submitterPodTemplate"], spec)
    return job


def manifest(spec: RaySpec) -> Object:
    return generate_rayjob_yaml(spec) if spec.kind == "rayjob" else generate_raycluster_yaml(spec)


def template(name: str) -> Object:
    import yaml

    loaded: Object = unaliased(yaml.safe_load((ASSETS / name).read_text(encoding="utf-8")))
    return loaded


def unaliased(thing: Any) -> Any:
    """YAML anchors give one dict in two places; an edit of one must not be an edit of both."""
    if isinstance(thing, dict):
        return {key: unaliased(value) for key, value in thing.items()}
    return [unaliased(item) for item in thing] if isinstance(thing, list) else thing


def metadata(spec: RaySpec) -> Object:
    annotations = {DIGEST: spec.digest, PROCS: str(spec.procs)}
    return {"name": spec.name, "labels": job_labels(spec), "annotations": annotations}


# --- the pods ----------------------------------------------------------------------------------------------------


def fill_node(template: Object, spec: RaySpec) -> None:
    """Edits the pod template of the head or of the workers."""
    ours = labels(spec.name, spec.run_id)
    template["metadata"]["labels"] = ours
    pod, container = template["spec"], template["spec"]["containers"][0]
    place(spec, pod)
    pod["terminationGracePeriodSeconds"] = spec.termination_s
    container["image"] = spec.image
    container["env"] = environment(spec, variables_of_ray(spec))
    fill_resources(container["resources"], spec)
    volume = {"persistentVolumeClaim": {"claimName": spec.claim}} if spec.claim else {"emptyDir": {}}
    mount(pod, container, "trainyard", "/trainyard", volume)
    mount(pod, container, "shm", "/dev/shm", {"emptyDir": {"medium": "Memory", "sizeLimit": shm_size(spec)}})
    pod.update(spread(spec, {**ours, "ray.io/is-ray-node": "yes"}))


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
    devices = {name: amount for name, amount in template["limits"].items() if name != "memory"}
    template["requests"].update(devices)


def mount(pod: Object, container: Object, name: str, path: str, volume: Object) -> None:
    pod["volumes"].append({"name": name, **volume})
    container["volumeMounts"].append({"name": name, "mountPath": path})
