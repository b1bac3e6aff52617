"""wait: the job's end, seen by a watch that outlives the API server's absences; or that it cannot come to one by itself."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_find import Job, call_for, find_job
from ptjob_going import refuse
from ptjob_status import get_job_status
from trainyard_endless import Standing, sentence
from trainyard_kube import Object
from trainyard_watch import follow, patiently

TELL_S = 30.0
FIRST_S = 2.0
"""Most jobs that are waited for have ended, or tell of their end: the watch comes first."""
ENDED = ("finished", "failed")


@dataclass
class Look:
    """At the pods, now and then: what the job's object does not tell."""

    cluster: kube.Cluster
    job: Job
    every_s: float = TELL_S
    status: Object = field(default_factory=dict)
    _next: float = field(default_factory=lambda: time.monotonic() + FIRST_S)
    standing: Standing = field(default_factory=Standing)
    endless: Object | None = None
    """The finding for which nothing will come of waiting."""

    def again(self, left_s: float) -> bool:
        """Looks where it is time to, and says what it saw; whether it looked."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self.every_s
        self.status = _status_or_nothing(self.cluster, self.job, patient=True)
        if self.status:
            self.endless = self.standing.endless(self.status)
        causes = "".join(f"; {each['id']}: {each['summary']}" for each in self.status.get("findings", [])[:2])
        shell.progress(f"{self.job.name} is {self.status.get('state', 'not to be seen')}{causes}; {left_s:.0f} s left to wait")
        return True


def wait_for_end(cluster: kube.Cluster, timeout_s: float, *, name: str, run_id: str | None, engine: str | None) -> shell.Result:
    """The status once the job has ended, or once it is certain that it does not by itself (check `wait.endless`).

    Raises SkillError: timeout (the status so far is its data), unreachable or credentials (nobody knows: the API server was away
    at the end, or did not let us in any more), not-found, conflict (it is being deleted, or another one has its name).
    """
    deadline = time.monotonic() + timeout_s
    job = find_job(cluster, name, run_id, engine)
    look = Look(cluster, job)
    for kind, thing in follow(cluster, job.engine.path(cluster), deadline, fieldSelector=f"metadata.name={name}"):
        if kind == "DELETED":
            raise _deleted(name, run_id)
        if kind in ("ADDED", "MODIFIED"):
            if thing["metadata"]["uid"] != job.uid:
                message = f"{name} was made anew by somebody while it was waited for"
                raise shell.SkillError("conflict", message, hint=call_for("status", name, run_id))
            job.object = thing
        refuse(job, "come to an end of its own")
        if job.engine.ended(job.object):
            return _result(patiently(partial(get_job_status, cluster, name, run_id, job.engine.name), deadline))
        if look.again(deadline - time.monotonic()):
            if _is_gone(cluster, job):  # a deletion may pass unseen between two watches
                raise _deleted(name, run_id)
            if look.status.get("state") in ENDED:
                return _result(look.status)
            if look.endless:
                return _endless(look.status, look.endless)
    data = _status_or_nothing(cluster, job)
    if data.get("state") in ENDED:
        return _result(data)
    raise _not_ended(data, timeout_s, name, run_id)


def _result(data: Object) -> shell.Result:
    return shell.Result(data, next=[call_for("logs", data["name"], data["run_id"])], ok=data["state"] == "finished")


def _endless(data: Object, found: Object) -> shell.Result:
    check = shell.Check("wait.endless", "fail", sentence(data, found), None, found["fix"])
    return shell.Result(data, checks=[check], next=[call_for("status", data["name"], data["run_id"])], ok=False)


def _not_ended(data: Object, timeout_s: float, name: str, run_id: str | None) -> shell.SkillError:
    """With the first cause that is known."""
    causes = [each for each in data.get("findings", []) if each["id"] != "events.unknown"]
    told = f": {causes[0]['summary']}" if causes else ""
    hint = causes[0]["fix"] if causes else f"{call_for('wait', name, run_id)}; or status"
    return shell.SkillError(
        "timeout", f"{name} has not ended within {timeout_s:.0f} s{told}", hint=hint, retryable=True, data=data
    )


def _deleted(name: str, run_id: str | None) -> shell.SkillError:
    message, hint = f"{name} was deleted while it was waited for", call_for("status", name, run_id)
    return shell.SkillError("not-found", message, hint=hint, data={"name": name, "unread": []})


def _is_gone(cluster: kube.Cluster, job: Job) -> bool:
    """False also where the API server does not answer us now."""
    try:
        return cluster.find(job.engine.path(cluster, job.name)) is None
    except shell.SkillError as error:
        if not kube.may_return(error):
            raise
        return False


def _status_or_nothing(cluster: kube.Cluster, job: Job, *, patient: bool = False) -> Object:
    """{} where it cannot be told. `patient`: also where the API server does not answer."""
    try:
        return get_job_status(cluster, job.name, job.run_id, job.engine.name)
    except shell.SkillError as error:
        if kube.may_return(error) and not patient:
            raise
        shell.progress(f"status: {error}")
        return {}
