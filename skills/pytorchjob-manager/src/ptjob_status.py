"""status: state of the job and of each of its nodes, from the job and its pods; events only when something is wrong. list: of all jobs."""

from __future__ import annotations

from datetime import datetime

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_engines import ENGINES, conditions
from ptjob_find import Job, find_with_pods
from ptjob_findings import find_causes
from ptjob_nodes import end_behind_others, has_ended, is_down, is_ready, is_running, pod_reason, pod_rows
from trainyard_agent_codes import plain
from trainyard_kube import Object
from trainyard_placed import is_stuck
from trainyard_pods import launcher_words, statuses_of

SCALED_AT = "trainyard.dev/scaled-at"
MAX_ROWS = 200


def get_job_status(
    cluster: kube.Cluster, name: str, run_id: str | None = None, engine: str | None = None, limit: int = MAX_ROWS
) -> Object:
    """The data of `status`. Raises SkillError not-found, conflict, permission."""
    job = find_with_pods(cluster, name, run_id, engine)
    seen = observe(job)
    return {
        "state": seen["state"],
        "reason": seen["reason"],
        "findings": [vars(finding) for finding in find_causes(cluster, job, seen["state"])],
        **seen,
        "pods": pod_rows(job, limit),
        "pods_total": len(job.pods),
        "conditions": condition_rows(job),
        "pod_selector": job.selector,
        "container": job.engine.container,
        "name": job.name,
        "engine": job.engine.name,
        "run_id": job.run_id,
        "cluster": cluster.identity(),
    }


def observe(job: Job) -> Object:
    """state, reason, nodes, restarts."""
    wanted, restarts = job.engine.wanted(job.object), count_restarts(job)
    running = sum(is_running(job, pod) for pod in job.pods)
    ready = sum(is_ready(job, pod) for pod in job.pods)
    state, reason = derive_state(job, wanted, running, restarts)
    told = launcher_words(job.pods)
    if state == "failed" and told:  # the operator says that a replica failed; the launcher knows why
        reason = told[0]["reason"]
    nodes = {"wanted": wanted, "running": running, "ready": ready}
    return {"state": state, "reason": reason, "nodes": nodes, "restarts": restarts}


def derive_state(job: Job, wanted: int, running: int, restarts: int) -> tuple[str, str]:
    """From the pods rather than from the condition Running, which a PyTorchJob has while most of its pods are pending.

    And not by the pods' phase alone: that of a pod whose container crashes again and again is Running.
    """
    ended = job.engine.ended(job.object)
    if kube.is_going(job.object):
        before = f"; it had {ended[0]}" if ended else ""
        return "deleting", f"it is being deleted, {len(job.pods)} pods are left{before}"
    if ended:
        return ended[0], shell.clean(plain(ended[1]), 300) or ended[0]
    true = conditions(job.object)
    if job.engine.is_suspended(job.object):
        left = f"; {running} pods are still going" if running else ""
        return "suspended", f"suspended{left}"
    if (over := end_behind_others(job)) is not None:
        return over
    if running >= wanted:
        return "running", f"all {wanted} nodes run"
    done = sum(kube.status(pod).get("phase") == "Succeeded" or has_ended(job, pod) for pod in job.pods)
    if running and running + done >= wanted:
        return "running", f"{done} of {wanted} nodes have finished"
    # The operators set Running when node 0 runs: without it now, the job has run before.
    was_running = "Running" in true and not any(is_running(job, pod) and job.rank(pod) == 0 for pod in job.pods)
    down = [pod for pod in job.pods if is_down(job, pod)]
    if down:
        told = f"in {len(down)} the container has ended and is started again ({pod_reason(down[0])})"
        return "restarting", f"{running} of {wanted} nodes run; {told}"
    if "Restarting" in true or restarts or was_running or any(kube.is_going(pod) for pod in job.pods):
        stuck = [kube.name(pod) for pod in job.pods if is_stuck(pod)]
        told = f"{stuck[0]} was deleted and does not end" if stuck else "the others come back"
        return "restarting", f"{running} of {wanted} nodes run; {told}"
    return "pending", f"{running} of {wanted} nodes run; {len(job.pods)} pods are made"


def count_restarts(job: Job) -> int:
    """Restarts that can be seen: of containers within their pods, and of pods that were made anew; or what the launcher has counted,
    which says it as it gives up.

    Nothing counts the latter (the operator re-creates a pod under its name): a pod is taken for one when it is clearly younger
    than the start of the job, or of its last resizing.
    """
    containers = sum(int(status.get("restartCount", 0)) for pod in job.pods for status in statuses_of(pod))
    began = [kube.status(job.object).get("startTime"), job.object["metadata"].get("creationTimestamp")]
    scaled = kube.notes(job.object).get(SCALED_AT)
    listed = kube.conditions(job.object)
    # A PyTorchJob that is resumed has a new startTime; a TrainJob has this condition.
    resumed = next(
        (each.get("lastTransitionTime") for each in listed if (each["type"], each["status"]) == ("Suspended", "False")), None
    )
    starts = [seconds(value) for value in (began[0] or began[1], scaled, resumed) if value]
    # An operator begins at once and makes some 20 pods a second.
    allowed_s = max(starts, default=0.0) + 5 + len(job.pods) / 20
    made_anew = sum(seconds(pod["metadata"]["creationTimestamp"]) > allowed_s for pod in job.pods)
    counted = max((word["restarts"] for word in launcher_words(job.pods)), default=None)
    return containers + made_anew if counted is None else counted


def seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def condition_rows(job: Job) -> list[Object]:
    listed = kube.conditions(job.object)
    return [
        {
            "type": each["type"],
            "status": each["status"],
            "reason": each.get("reason"),
            "message": shell.clean(plain(str(each.get("message") or "")), 300),
            "since": each.get("lastTransitionTime"),
        }
        for each in listed
    ]


# --- list --------------------------------------------------------------------------------------------------------


def list_jobs(cluster: kube.Cluster, limit: int) -> shell.Result:
    """Newest first. A kind that is not installed has no jobs; one that may not be listed is an unknown check."""
    jobs: list[Job] = []
    checks: list[shell.Check] = []
    for engine in ENGINES.values():
        with kube.noted(f"list.{engine.name}", checks, may_be_absent=True):
            found = cluster.list(engine.path(cluster), labelSelector=f"{kube.MANAGED}=trainyard")
            jobs += [Job(engine, thing) for thing in found]
    jobs.sort(key=lambda job: str(job.object["metadata"]["creationTimestamp"]), reverse=True)
    hidden = {"older": max(len(jobs) - limit, 0), "of_others": _of_others(cluster, jobs)}
    data = {"cluster": cluster.identity(), "total": len(jobs), "hidden": hidden, "jobs": [row(job) for job in jobs[:limit]]}
    return shell.Result(data, checks=checks, truncated=len(jobs) > limit)


def _of_others(cluster: kube.Cluster, ours: list[Job]) -> int | None:
    """How many jobs of these kinds here were not made by Trainyard; None where that could not be counted."""
    count = -len(ours)
    for engine in ENGINES.values():
        try:
            page = cluster.get(engine.path(cluster), limit=1)
        except kube.ApiError as error:
            if error.status == 404:
                continue  # not installed
            return None
        count += len(page["items"] or []) + int(page["metadata"].get("remainingItemCount") or 0)
    return max(count, 0)


def row(job: Job) -> Object:
    return {
        "name": job.name,
        "engine": job.engine.name,
        "run_id": job.run_id,
        "nodes": job.engine.wanted(job.object),
        "state": state_by_conditions(job),
        "created": job.object["metadata"]["creationTimestamp"],
    }


def state_by_conditions(job: Job) -> str:
    """Without the pods: `active` is pending, running or restarting; `status NAME` tells which."""
    if kube.is_going(job.object):
        return "deleting"
    if ended := job.engine.ended(job.object):
        return ended[0]
    if job.engine.is_suspended(job.object):
        return "suspended"
    return "restarting" if "Restarting" in conditions(job.object) else "active"
