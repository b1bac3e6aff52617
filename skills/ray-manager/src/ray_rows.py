"""What pods and objects say, as rows and numbers of `status`."""

from __future__ import annotations

from typing import Any

from trainyard_kube import Object


def accelerators(pod: Object) -> int:
    """GPUs, Neuron cores and the like of a pod's limits."""
    limits = [container.get("resources", {}).get("limits") or {} for container in pod["spec"]["containers"]]
    words = ("gpu", "neuron", "neuroncore", "tpu")
    return sum(int(amount) for each in limits for name, amount in each.items() if name.rpartition("/")[2] in words)


def row(rank: int, pod: Object) -> dict[str, Any]:
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    waiting = [
        (each.get("state") or {}).get("waiting") or {} for each in [*(status.get("initContainerStatuses") or []), *containers]
    ]
    reasons = [each["reason"] for each in waiting if each.get("reason") not in (None, "PodInitializing")]
    return {
        "name": pod["metadata"]["name"],
        "role": pod["metadata"]["labels"].get("ray.io/node-type"),
        "rank": rank,
        "phase": "Terminating" if pod["metadata"].get("deletionTimestamp") else status.get("phase"),
        "node": pod["spec"].get("nodeName"),
        "restarts": sum(each.get("restartCount") or 0 for each in containers),
        "reason": status.get("reason") or (reasons[0] if reasons else None),
    }


def restarts(thing: Object, rows: list[dict[str, Any]], submitters: list[Object]) -> int:
    """Containers that came back, drivers that were submitted again, whole clusters that were made again."""
    status = thing.get("status") or {}
    ended = status.get("jobDeploymentStatus") == "Failed"  # then the last failure was no restart
    clusters = int(status.get("failed") or 0) - ended
    containers: int = sum(each["restarts"] for each in rows)
    return max(0, clusters) + containers + phases(submitters, "Failed")


def phases(pods: list[Object], phase: str) -> int:
    return sum((pod.get("status") or {}).get("phase") == phase for pod in pods)


def conditions(kind: str, thing: Object) -> list[dict[str, Any]]:
    """KubeRay's own words."""
    status = thing.get("status") or {}
    listed = (status.get("rayClusterStatus") or {} if kind == "rayjob" else status).get("conditions") or []
    rows = [{"type": each["type"], "status": each["status"], "reason": each.get("reason")} for each in listed]
    names = ("jobDeploymentStatus", "jobStatus") if kind == "rayjob" else ()
    return [{"type": name, "status": status.get(name), "reason": status.get("reason")} for name in names] + rows
