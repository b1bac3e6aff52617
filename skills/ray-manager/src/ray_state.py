"""From what KubeRay and Ray say to the states that every engine of this collection has.

pending | running | restarting | suspended | deleting | finished | failed. KubeRay v1.6.1 apis/ray/v1/{rayjob,raycluster}_types.go names the
words; one that is not known is never an end: `wait` has a deadline, and the word stands in the reason.
"""

from __future__ import annotations

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import Object

ENDED = ("finished", "failed")
JOB_STATUS = {"PENDING": "pending", "RUNNING": "running", "SUCCEEDED": "finished", "FAILED": "failed", "STOPPED": "failed"}
"""Of Ray itself: RayJob's jobStatus and the status of a submission."""
DEPLOYMENT_STATUS = {
    "": "pending",
    "Initializing": "pending",
    "Waiting": "pending",
    "Suspending": "suspended",
    "Suspended": "suspended",
    "Retrying": "restarting",
    "Failed": "failed",
    "ValidationFailed": "failed",
}


def object_state(kind: str, thing: Object) -> tuple[str, str | None]:
    """(state, reason) as far as the object itself tells: what is being deleted is that and nothing else."""
    state, reason = told_state(kind, thing)
    if not kube.is_going(thing):
        return state, reason
    before = f"; before that it was {state}" + (f" ({reason})" if reason else "")
    return "deleting", deleting(thing) + before


def told_state(kind: str, thing: Object) -> tuple[str, str | None]:
    """The same of an object of which it does not matter whether it is being deleted."""
    return job_state(thing) if kind == "rayjob" else cluster_state(thing)


def deleting(thing: Object) -> str:
    """Words for an object with a deletionTimestamp: since when, and which finalizers hold it."""
    meta = thing["metadata"]
    held = ", ".join(shell.clean(str(each), 100) for each in meta.get("finalizers") or [])
    return f"being deleted since {meta['deletionTimestamp']}" + (f", held by {held}" if held else "")


def job_state(job: Object) -> tuple[str, str | None]:
    status = kube.status(job)
    deployment, ray = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    words = ": ".join(filter(None, [status.get("reason"), status.get("message")]))
    if deployment in DEPLOYMENT_STATUS:
        return DEPLOYMENT_STATUS[deployment], words or deployment or "KubeRay has not looked at it yet"
    state = JOB_STATUS.get(ray)
    if deployment == "Complete":
        # "Complete" is said of stopped jobs too: only SUCCEEDED is finished
        return ("finished" if state == "finished" else "failed"), words or f"Ray says {ray or 'nothing'}"
    if state == "failed" and (job["spec"].get("backoffLimit") or 0) > (status.get("failed") or 0):
        return "restarting", words or "a new cluster will try again"
    if state is None:  # Running, and the dashboard has not answered yet; or a word of a newer KubeRay
        return "running", words or " ".join(filter(None, [deployment, ray]))
    return state, words or ("stopped" if ray == "STOPPED" else None)


def cluster_state(cluster: Object) -> tuple[str, str | None]:
    """A RayCluster runs when its head and all its workers are ready; whether a job runs on it is not its question."""
    status = kube.status(cluster)
    suspended = kube.holds(cluster, "RayClusterSuspended") or kube.holds(cluster, "RayClusterSuspending")
    if suspended or (cluster.get("spec") or {}).get("suspend"):
        return "suspended", None
    ready, desired = status.get("readyWorkerReplicas") or 0, status.get("desiredWorkerReplicas") or 0
    if kube.holds(cluster, "HeadPodReady") and ready >= desired and status.get("observedGeneration"):
        return "running", None
    telling = "ReplicaFailure" if kube.holds(cluster, "ReplicaFailure") else "HeadPodReady"
    trouble: Object = next((each for each in kube.conditions(cluster) if each["type"] == telling), {})
    words = ": ".join(filter(None, [trouble.get("reason"), trouble.get("message")]))
    if kube.holds(cluster, "RayClusterProvisioned"):  # sticky: it was complete once
        return "restarting", words or f"{ready} of {desired} workers ready"
    return "pending", words or (f"{ready} of {desired} workers ready" if status else "KubeRay has not looked at it yet")
