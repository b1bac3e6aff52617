"""What is wrong with a RayJob or RayCluster: the causes of every pod, with what only Ray has, and a cluster that outlives its job."""

from __future__ import annotations

from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import Cluster, Object
from trainyard_autoscaler import nodes_to_come
from trainyard_pods import Finding, Row, age_s, find_in_events, find_in_pods
from trainyard_unscheduled import left_to

from ray_groups import Group, accelerators, ray_container
from ray_state import ENDED, deleting

HINTS = {
    "container.start": "read the message; is bash in the image?",
    "container.crashing": "logs NAME --rank R --previous: is Ray in the image, is --ray-version right?",
    "memory.out": "a larger resources.memory (--memory; Ray's object store takes 30 % of it), or a smaller batch",
}
EVENTS: list[Row] = [("ray.refused", r"^(InvalidRay|FailedToCreate|RayConfigError)", "correct what it names")]
"""KubeRay's own: specs that it refuses, objects that it could not make."""
OPERATOR = "ray.io/kuberay-operator"
"""As `managedBy` names KubeRay itself."""
MARGIN_S = 60.0
"""KubeRay needs a moment to remove a cluster after its time."""


def find_causes(cluster: Cluster, thing: Object, pods: list[Object], names: set[str], *, healthy: bool) -> list[Finding]:
    """From the pods, and from the events about them and about the objects of these names where something is wrong."""
    found = find_in_pods(pods, HINTS)
    if healthy:
        return [each for each in found if not each.id.startswith("exit.")]  # whatever ended has come back
    if (by := thing["spec"].get("managedBy")) not in (None, OPERATOR) and not pods:
        return [left_to(str(by))]
    events = find_in_events(cluster, sorted(names), pods, thing["metadata"]["creationTimestamp"], EVENTS)
    told = {each.id for each in found}
    return [*nodes_to_come(cluster, pods), *found, *(each for each in events if each.id not in told)]


def find_held(kind: str, thing: Object, pods: list[Object], data: dict[str, Any]) -> list[Finding]:
    """Pods that hold resources for a job that is over."""
    alive = [pod for pod in pods if not kube.is_going(pod) and pod["status"].get("phase") == "Running"]
    if not alive or data["state"] not in ENDED:
        return []
    if kind == "rayjob":
        spec, ended = thing["spec"], (thing["status"] or {}).get("endTime")
        grace_s = (spec.get("ttlSecondsAfterFinished") or 0) + MARGIN_S
        if spec.get("shutdownAfterJobFinishes") and not (ended and age_s(ended) > grace_s):
            return []
    gpus = sum(sum(accelerators(ray_container(pod)).values()) for pod in alive)
    summary = f"the job has {data['state']}, and {data['ray_cluster']} still holds {len(alive)} pods with {gpus} accelerators"
    fix = (
        f"manage_ray.py delete {data['name']} --run-id {data['run_id']} --yes"
        if data["run_id"]
        else "kubectl delete, if it is yours"
    )
    return [Finding("ray.holds-cluster", summary, fix)]


def find_deletion(thing: Object) -> list[Finding]:
    """What is being deleted comes first: nothing else about it will change."""
    if not kube.is_going(thing):
        return []
    fix = "wait until it is gone; where a finalizer holds it for minutes, does the controller run that removes it?"
    return [Finding("job.deleting", f"{thing['kind']} {kube.name(thing)} is {deleting(thing)}", fix)]


def find_suspended(groups: list[Group]) -> list[Finding]:
    """Worker groups whose pods are not wanted now, so that nobody looks for them."""
    held = [group for group in groups if group.suspended]
    if not held:
        return []
    names = ", ".join(f"{shell.clean(group.name, 63)} ({group.suspended} nodes)" for group in held)
    fix = "spec.workerGroupSpecs[].suspend: false brings them back; KubeRay suspends them itself by a deletionStrategy DeleteWorkers"
    return [Finding("ray.group-suspended", f"suspended worker groups: {names}", fix)]
