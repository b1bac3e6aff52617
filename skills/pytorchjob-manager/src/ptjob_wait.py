"""wait: the job's end, seen by a watch that outlives the API server's absences."""

from __future__ import annotations

import time
from functools import partial

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_find import Job, call_for, find_job
from ptjob_status import get_job_status
from trainyard_kube import Object
from trainyard_watch import follow, patiently

TELL_S = 30.0


def wait_for_end(cluster: kube.Cluster, timeout_s: float, *, name: str, run_id: str | None, engine: str | None) -> Object:
    """The status once the job has ended.

    Raises SkillError: timeout (the status so far is its data), unreachable (nobody knows: the API server was away at the end),
    not-found, conflict.
    """
    deadline = time.monotonic() + timeout_s
    job = find_job(cluster, name, run_id, engine)
    told_at = time.monotonic()
    for kind, thing in follow(cluster, job.engine.path(cluster), deadline, fieldSelector=f"metadata.name={name}"):
        if kind == "DELETED":
            raise _deleted(name, run_id)
        if kind in ("ADDED", "MODIFIED"):
            if thing["metadata"]["uid"] != job.uid:
                message = f"{name} was made anew by somebody while it was waited for"
                raise shell.SkillError("conflict", message, hint=call_for("status", name, run_id))
            job.object = thing
        if job.engine.ended(job.object):
            return patiently(partial(get_job_status, cluster, name, run_id, job.engine.name), deadline)
        if kind == "RELISTED" or time.monotonic() - told_at > TELL_S:
            told_at = time.monotonic()
            if _is_gone(cluster, job):  # a deletion may pass unseen between two watches
                raise _deleted(name, run_id)
            shell.progress(f"{name} goes on; {deadline - told_at:.0f} s left to wait")
    raise shell.SkillError(
        "timeout",
        f"{name} has not ended within {timeout_s:.0f} s",
        hint=f"{call_for('wait', name, run_id)}; or status",
        retryable=True,
        data=_status_or_nothing(cluster, name, run_id, job.engine.name),
    )


def _deleted(name: str, run_id: str | None) -> shell.SkillError:
    message, hint = f"{name} was deleted while it was waited for", call_for("status", name, run_id)
    return shell.SkillError("not-found", message, hint=hint, data={"name": name, "unread": []})


def _is_gone(cluster: kube.Cluster, job: Job) -> bool:
    """False also where the API server does not answer now."""
    try:
        return cluster.find(job.engine.path(cluster, job.name)) is None
    except shell.SkillError as error:
        if error.code != "unreachable":
            raise
        return False


def _status_or_nothing(cluster: kube.Cluster, name: str, run_id: str | None, engine: str) -> Object:
    try:
        return get_job_status(cluster, name, run_id, engine)
    except shell.SkillError as error:
        if error.code == "unreachable":
            raise
        shell.progress(f"status: {error}")
        return {}
