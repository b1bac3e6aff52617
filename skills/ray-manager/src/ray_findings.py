"""What is wrong with a RayJob or RayCluster: the causes of every pod, with what only Ray has, and a cluster that outlives its job."""

from __future__ import annotations

from typing import Any

import trainyard_kube as kube
from trainyard_kube import Cluster, Object
from trainyard_autoscaler import nodes_to_come
from trainyard_pods import Finding, Row, age_s, find_in_events, find_in_pods
from trainyard_unscheduled import left_to

from ray_state import ENDED

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
    gpus = sum(accelerators(pod) for pod in alive)
    summary = f"the job has {data['state']}, and {data['ray_cluster']} still holds {len(alive)} pods with {gpus} accelerators"
    fix = (
        f"manage_ray.py delete {data['name']} --run-id {data['run_id']} --yes"
        if data["run_id"]
        else "kubectl delete, if it is yours"
    )
    return [Finding("ray.holds-cluster", summary, fix)]


def accelerators(pod: Object) -> int:
    """GPUs, Neuron cores and the like of a pod's limits."""
    limits = [container.get("resources", {}).get("limits") or {} for container in pod["spec"]["containers"]]
    words = ("gpu", "neuron", "neuroncore", "tpu")
    return sum(int(amount) for each in limits for name, amount in each.items() if name.rpartition("/")[2] in words)
