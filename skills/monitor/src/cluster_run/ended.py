"""What a job's own object says: how many nodes it wants, whether it has ended, waits or goes. No request is made."""

from __future__ import annotations

from dataclasses import dataclass

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_run.run import ClusterRun
from trainyard_kube import Object

GOOD = ("Succeeded", "Complete", "Completed")
RAY_ENDED = {"SUCCEEDED": "finished", "FAILED": "failed", "STOPPED": "stopped"}


@dataclass(frozen=True)
class JobSays:
    """`ended`: finished, failed or stopped; None while it goes on or says nothing."""

    ended: str | None
    why: str
    suspended: bool = False
    queue: str | None = None
    deleting: bool = False
    was_running: bool = False
    silent: bool = False
    """Its operator has written nothing into it at all."""
    at: float | None = None
    """When it ended."""


def job_says(job: Object) -> JobSays:
    true = {str(each.get("type")): each for each in kube.conditions(job) if each.get("status") == "True"}
    ended, why, at = _ended(job, true)
    spec = job.get("spec") or {}
    return JobSays(
        ended,
        shell.clean(why, 300),
        suspended=bool(spec.get("suspend") or (spec.get("runPolicy") or {}).get("suspend")),
        queue=kube.label(job, "kueue.x-k8s.io/queue-name"),
        deleting=kube.is_going(job),
        was_running="Running" in true or kube.status(job).get("jobDeploymentStatus") == "Running",
        silent=not kube.status(job),
        at=at,
    )


def _ended(job: Object, true: dict[str, Object]) -> tuple[str | None, str, float | None]:
    from cluster_run.times import seconds

    if job.get("kind") == "RayJob" or "jobDeploymentStatus" in kube.status(job):
        return _ray_ended(job)
    if "Failed" in true:
        words = true["Failed"]
        return "failed", _words(words), seconds(words.get("lastTransitionTime"))
    good = next((true[name] for name in GOOD if name in true), None)
    return ("finished", _words(good), seconds(good.get("lastTransitionTime"))) if good else (None, "", None)


def _ray_ended(job: Object) -> tuple[str | None, str, float | None]:
    """`Complete` is said of stopped jobs too; a failed one may be tried again (KubeRay rayjob_types.go)."""
    from cluster_run.times import seconds

    status = kube.status(job)
    deployment, ray = str(status.get("jobDeploymentStatus") or ""), str(status.get("jobStatus") or "")
    words = (
        ": ".join(str(each) for each in (status.get("reason"), status.get("message")) if each) or f"Ray says {ray or 'nothing'}"
    )
    at = seconds(status.get("endTime"))
    if deployment in ("Failed", "ValidationFailed"):
        return "failed", words, at
    return (RAY_ENDED.get(ray, "failed"), words, at) if deployment == "Complete" else (None, words, None)


def _words(condition: Object) -> str:
    return str(condition.get("message") or condition.get("reason") or "")


def wanted_nodes(run: ClusterRun) -> int | None:
    """As the job asks for; None where nobody says."""
    spec: Object = (run.job or {}).get("spec") or {}
    engine = run.engine
    if engine == "pytorchjob":
        return sum(int(group.get("replicas", 1)) for group in (spec.get("pytorchReplicaSpecs") or {}).values()) or None
    if engine == "trainjob":
        return int((spec.get("trainer") or {}).get("numNodes") or 1)
    if engine == "hyperpodjob":
        return sum(int(group.get("replicas", 1)) for group in spec.get("replicaSpecs") or []) or None
    if engine == "job":
        return int(spec.get("parallelism") or 1)
    if engine in ("rayjob", "raycluster"):
        own = spec.get("rayClusterSpec") or (spec if engine == "raycluster" else {})
        groups = own.get("workerGroupSpecs") or []
        return 1 + sum(int(group.get("replicas") or 0) * int(group.get("numOfHosts") or 1) for group in groups) if own else None
    return None
