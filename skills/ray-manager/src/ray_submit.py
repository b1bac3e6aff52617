"""Jobs submitted to a RayCluster: once a submission id, and what became of them.

A run has one job of its own, whose id follows from the run's; other ids are further jobs on the same cluster. Two annotations name
what Ray was given: the run's own job, and the newest of the others. They are written after Ray has taken the job. So a noted job that
Ray does not know is one that it has forgotten, and one that is not noted may just as well never have been submitted.
"""

from __future__ import annotations

import re
import shlex
import time
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import Cluster, Object, owner

from ray_head import script
from ray_manifest import PROCS
from ray_groups import training_nodes, wanted_nodes
from ray_objects import Head, cluster_spec, head_of, path
from ray_spec import driver
from trainyard_podjob import usage
from ray_state import ENDED, JOB_STATUS, told_state

SPARE_S = 30.0
OWN, OTHER = "trainyard.dev/submission", "trainyard.dev/other-submission"
SUBMISSION_ID = re.compile(r"[A-Za-z0-9][-\w.]{0,127}")


def words_on_head(cluster: Cluster, kind: str, thing: Object, command: list[str]) -> list[str]:
    """The command with a launcher replaced, by the topology that the cluster was created with, or of a cluster that others made."""
    spec, procs = cluster_spec(cluster, kind, thing), kube.notes(thing).get(PROCS)
    return driver(command, *((wanted_nodes(spec), int(procs)) if owner(thing) and procs else training_nodes(spec)))


def submit(cluster: Cluster, thing: Object, command: list[str], job_id: str) -> tuple[dict[str, Any], bool]:
    """(the job, whether it was made now). Raises SkillError conflict where the id stands for another command."""
    # one shell parses this, on the head: Ray's
    entrypoint = shlex.join(words_on_head(cluster, "raycluster", thing, command))
    head = head_of(cluster, "raycluster", thing)
    note(cluster, thing, job_id, dry_run=True)  # who may not note it, or looked at what has been replaced, starts nothing
    answer = script(cluster, head, "on_head.py", "submit", job_id, entrypoint)
    if answer["job"]["entrypoint"] != entrypoint:
        message = f"submission {job_id} on {kube.name(thing)} runs another command: "
        message += shell.clean(answer["job"]["entrypoint"], 300)
        raise shell.SkillError("conflict", message, hint="--submission-id with a new id")
    note(cluster, thing, job_id)
    return {**answer["job"], "pod": head.pod}, answer["made"]


def run_named_or_raise(thing: Object, run_id: str | None) -> None:
    """A run's cluster takes jobs from that run alone; whether the id is the right one, `find` has seen. Raises SkillError usage."""
    if owner(thing) and not run_id:
        message = f"RayCluster {kube.name(thing)} belongs to a run, and --run-id does not say that it is yours"
        raise usage(message, "--run-id HEX, as you gave it to `create`, as run.json has it, or as manage_ray.py list shows it")


# --- which job ---------------------------------------------------------------------------------------------------


def own_id(thing: Object) -> str | None:
    """The id of the run's own job, so that a repeated call finds it; None for a cluster of no run."""
    run_id = owner(thing)
    return f"{kube.name(thing)}-{run_id[:8]}" if run_id else None


def id_to_submit(thing: Object, given: str | None) -> str:
    job_id = checked(given) or own_id(thing)
    if job_id is None:
        raise usage("this cluster belongs to no run", "--submission-id ID: the same id again is the same job")
    return job_id


def id_to_tell_of(thing: Object, given: str | None) -> str | None:
    """The job that is asked for: the one named, else the run's own once it was submitted, else the newest other one."""
    notes = kube.notes(thing)
    return checked(given) or notes.get(OWN) or notes.get(OTHER)


def checked(job_id: str | None) -> str | None:
    if job_id is not None and not SUBMISSION_ID.fullmatch(job_id):
        raise usage(f"{job_id!r} is no submission id", "letters, digits, -, _ and .")
    return job_id


def note(cluster: Cluster, thing: Object, job_id: str, *, dry_run: bool = False) -> None:
    """Write on a run's cluster that Ray has this job. Only on the very object that was looked at: else raises SkillError conflict."""
    name, notes = kube.name(thing), thing["metadata"].get("annotations")
    key = OWN if job_id == own_id(thing) else OTHER
    if not owner(thing) or (notes or {}).get(key) == job_id:
        return
    at, value = "/metadata/annotations", {key: job_id}
    change = {"path": f"{at}/{key.replace('/', '~1')}", "value": job_id} if notes else {"path": at, "value": value}
    cluster.amend(path(cluster, "raycluster", name), thing["metadata"]["uid"], [{"op": "add", **change}], dry_run=dry_run)


def stop_jobs(cluster: Cluster, kind: str, thing: Object, timeout_s: float) -> list[shell.Check]:
    """SIGTERM to the jobs that Ray was given, and time to save, before the pods go: `ray start` passes no SIGTERM on to a job, and
    KubeRay, which asks for the end of a RayJob's, does not wait for it.

    Returns when they have ended or the time is over: a warning where that is not known, for a deletion goes on.
    """
    notes, deadline = kube.notes(thing), time.monotonic() + timeout_s
    told = [kube.status(thing).get("jobId")] if kind == "rayjob" else [notes.get(OWN), notes.get(OTHER)]
    jobs = [job_id for job_id in told if job_id and told_state(kind, thing)[0] not in ENDED]
    try:
        head = head_of(cluster, kind, thing) if jobs else None
        left = [job_id for job_id in jobs if head and not _stopped(cluster, head, job_id, deadline)]
    except shell.SkillError as error:
        return [_not_saved(f"could not be asked to save first: {error}")]
    return [_not_saved(f"had not ended after {timeout_s:.0f} s: {', '.join(left)}")] if left else []


def _stopped(cluster: Cluster, head: Head, job_id: str, deadline: float) -> bool:
    left_s = max(1.0, deadline - time.monotonic())
    answer = script(cluster, head, "on_head.py", "stop", job_id, f"{left_s:.0f}", timeout_s=left_s + SPARE_S)
    return bool(answer["gone"])


def _not_saved(how: str) -> shell.Check:
    fix = "what came after the newest checkpoint is lost, if it was not saved by then"
    return shell.Check("job.saved", "warn", f"the job {how}", fix=fix)


# --- what became of it -------------------------------------------------------------------------------------------


def submission(cluster: Cluster, thing: Object, head: Head, job_id: str) -> tuple[str, str | None, dict[str, Any] | None]:
    """(state, reason, Ray's record) of a submitted job."""
    job = script(cluster, head, "on_head.py", "info", job_id)
    return (*submission_state(thing, job_id, job), job)


def submission_state(thing: Object, job_id: str, job: dict[str, Any] | None) -> tuple[str, str | None]:
    """(state, reason) of a job by Ray's record of it. Without one: `failed` where the job is known to have been there."""
    notes = kube.notes(thing)
    if job is None and job_id in (notes.get(OWN), notes.get(OTHER)):
        return "failed", f"Ray does not know {job_id} any more: the head was replaced and has forgotten its jobs"
    if job is None:
        never = "it was not submitted, or the head was replaced since then and has forgotten it"
        return "pending", f"Ray does not know {job_id}: {never}; `submit` starts it"
    state = JOB_STATUS.get(job["status"], "running")
    message = shell.clean(job["message"] or "", 2000)
    return state, (message or job["status"]) if state in ("failed", "pending") else None
