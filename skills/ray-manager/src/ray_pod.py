"""The pods of a Ray cluster: what every node gets, and what the submitter of a RayJob gets."""

from __future__ import annotations

import math
from typing import Any

from ray_spec import RaySpec
from trainyard_kube import Object, labels
from trainyard_podjob import environment, place, resources, shm_size, spread

ROLE = "trainyard.dev/role"


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
