"""Wait for the end of a job, or for a RayCluster without a job to be ready; every wait has a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import trainyard_endless
import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_endless import Standing
from trainyard_kube import Cluster, Object
from trainyard_watch import follow, patiently

from ray_objects import find, path, same_again
from ray_state import ENDED, object_state, told_state
from ray_status import get_ray_status
from ray_submit import id_to_tell_of

POLL_S = 3.0
LOOK_S = 30.0


@dataclass
class Looks:
    """At the pods, now and then: what the object itself does not tell."""

    look: Callable[[], shell.Result]
    standing: Standing = field(default_factory=Standing)
    _next: float = field(default_factory=lambda: time.monotonic() + POLL_S)

    def endless(self) -> shell.Result | None:
        """The answer of `wait` where nothing will come of waiting."""
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + LOOK_S
        try:
            return self.judged(self.look())
        except shell.SkillError as error:  # the watch notices what has come of the object
            shell.progress(f"status: {error}")
            return None

    def judged(self, result: shell.Result) -> shell.Result | None:
        found = self.standing.endless(result.data)
        if found is None:
            return None
        told = trainyard_endless.sentence(result.data, found)
        result.checks.append(shell.Check("wait.endless", "fail", told, None, found["fix"]))
        result.ok = False
        return result


def wait(
    cluster: Cluster,
    name: str,
    timeout_s: float,
    *,
    kind: str | None,
    run_id: str | None,
    submission_id: str | None,
    ready: bool,
) -> shell.Result:
    """The last status. Exit 0: finished (a cluster without a job: ready); 1: failed, or it is certain that it does not start by itself
    (check `wait.endless`).

    `ready`: of a RayCluster only its nodes are waited for, whatever job runs on it. With a submission id that job is waited for,
    also where it is yet to be submitted.
    What is being deleted is waited for until it is gone: then not-found, for there is no end to tell of.
    Raises SkillError: timeout (still going), unreachable (nobody knows: the API server was away at the end), not-found, conflict.
    """
    deadline = time.monotonic() + timeout_s
    kind, thing = find(cluster, name, kind, run_id)
    has_job = kind == "rayjob" or (not ready and bool(id_to_tell_of(thing, submission_id)))
    ends = ENDED if has_job else (*ENDED, "running")
    looks = Looks(partial(get_ray_status, cluster, name, kind=kind, run_id=run_id, job=False))
    if endless := watch_object(cluster, kind, thing, ("running", *ENDED) if kind == "raycluster" else ends, deadline, looks):
        return endless
    ask: dict[str, Any] = {"kind": kind, "run_id": run_id, "submission_id": submission_id, "job": has_job}
    look = partial(get_ray_status, cluster, name, **ask)
    result = patiently(look, deadline)
    told = None
    while result.data["state"] not in ends and time.monotonic() < deadline:
        if told != (told := sentence(name, result.data["state"], result.data["reason"])):
            shell.progress(told)
        time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
        result = patiently(look, deadline)
        if endless := looks.judged(result):
            return endless
    return judged(result, ends, timeout_s, same_again(result.data, submission_id))


def watch_object(
    cluster: Cluster, kind: str, thing: Object, ends: tuple[str, ...], deadline: float, looks: Looks
) -> shell.Result | None:
    """Until the object itself tells of its end, or a look at its pods that there will be none: that answer."""
    name, uid, told = kube.name(thing), thing["metadata"]["uid"], ""
    for event, seen in follow(cluster, path(cluster, kind), deadline, fieldSelector=f"metadata.name={name}"):
        if endless := looks.endless():
            return endless
        if event in ("TICK", "RELISTED") or seen["metadata"]["uid"] != uid:
            continue
        state, reason = object_state(kind, seen)
        if event == "DELETED":
            message = f"{kind} {name} was deleted while it was waited for; before that it was {told_state(kind, seen)[0]}"
            raise shell.SkillError("not-found", message, hint="manage_ray.py list")
        if told != (told := sentence(name, state, reason)):
            shell.progress(told)
        if state in ends:
            return None
    return None


def sentence(name: str, state: str, reason: str | None) -> str:
    return f"{name}: {state}" + (f" ({reason})" if reason else "")


def judged(result: shell.Result, ends: tuple[str, ...], timeout_s: float, again: str) -> shell.Result:
    state, reason = result.data["state"], result.data["reason"]
    if state not in ends:
        known = [each for each in result.data["findings"] if each["id"] != "events.unknown"]
        cause = known[0]["summary"] if known else reason or "still going"
        message = f"{result.data['name']} is {state} after {timeout_s:.0f} s: {cause}"
        hint = known[0]["fix"] if known else f"the same call, or manage_ray.py status {again}"
        raise shell.SkillError("timeout", message, hint=hint, retryable=True, data=result.data)
    words = f"{state}: {reason}" if reason else state
    fix = f"manage_ray.py logs {again}" if state == "failed" else None
    result.checks.append(shell.Check("run.finished", "fail" if state == "failed" else "pass", words, None, fix))
    return result
