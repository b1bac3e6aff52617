"""scale, suspend, resume, delete: patches of the live object, and only of the one that was looked at."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_engines import Patch
from ptjob_find import Job, call_for, check_words, find_with_pods
from ptjob_going import claims_stay, refuse
from ptjob_status import SCALED_AT
from trainyard_kube import Object
from trainyard_podjob_manifest import claims

SCALING = "trainyard.dev/scaling-to"
"""Set while a scale is under way: the same call takes it up again."""
POLL_S = 1.0


def scale(cluster: kube.Cluster, job: Job, nodes: int, timeout_s: float, *, dry_run: bool) -> shell.Result:
    """A job of fixed size is suspended, resized and resumed: its pods' environment says how many they are. Elastic ones just change.

    Raises SkillError: usage (this kind cannot), timeout (pods still ending; the same call goes on), conflict.
    """
    refuse(job, "scale")
    marked = kube.notes(job.object).get(SCALING)
    was = job.engine.wanted(job.object)
    if was == nodes and marked is None:
        return shell.Result({**about(cluster, job), "nodes": nodes, "was": was, "restarts": False})
    _may_scale(job, nodes)
    resize = _resize(job, nodes)
    restart = (marked is not None or not job.engine.is_suspended(job.object)) and _must_restart(job)
    data = {**about(cluster, job), "nodes": nodes, "was": was, "restarts": restart, "patch": resize}
    checks = [*losses(job), *claims_stay(cluster, claims(job.object))] if restart else []
    if dry_run or not restart:
        patch(cluster, job, resize, dry_run=dry_run)
    else:
        _scale_anew(cluster, job, nodes, timeout_s)
    if dry_run:
        return shell.Result(data, checks=checks)
    changed, then = f"nodes of {job.name}: {was} -> {nodes}", call_for("status", job.name, job.run_id)
    return shell.Result(data, checks=checks, changed=[changed], next=[then])


def _scale_anew(cluster: kube.Cluster, job: Job, nodes: int, timeout_s: float) -> None:
    shell.progress(f"{job.name} stops, so that all of its pods know the new size; then it goes on {how_it_goes_on(job)}")
    pause = job.engine.suspend_patch(job.object, True) or []
    patch(cluster, job, [*pause, _annotate(SCALING, str(nodes))])
    wait_for_no_pods(cluster, job.selector, timeout_s, call_for("scale", job.name, job.run_id, "--nodes", str(nodes)))
    go_on = job.engine.suspend_patch(job.object, False) or []
    patch(cluster, job, [*_resize(job, nodes), *go_on, _unmark()])


def _resize(job: Job, nodes: int) -> Patch:
    return [*(job.engine.scale_patch(job.object, nodes) or []), _annotate(SCALED_AT, _now())]


def _may_scale(job: Job, nodes: int) -> None:
    elastic = job.object["spec"].get("elasticPolicy") or {}
    low, high = elastic.get("minReplicas", 1), elastic.get("maxReplicas", nodes)
    if not low <= nodes <= high:
        raise shell.SkillError(
            "usage", f"{job.name} is elastic between {low} and {high} nodes", hint=f"--nodes {low} to {high}"
        )
    if elastic and job.engine.name == "hyperpodjob":
        from trainyard_hyperpod import sizes

        if nodes not in (allowed := sizes(elastic)):
            told = ", ".join(map(str, allowed[:8]))
            raise shell.SkillError("usage", f"{job.name}'s elasticPolicy has no size {nodes}", hint=f"--nodes: {told}")
    if job.engine.scale_patch(job.object, nodes) is None:
        hint = f"{_delete_call(job)}, then create it with --nodes {nodes}: it goes on {how_it_goes_on(job)}"
        raise shell.SkillError("usage", f"the size of a {job.engine.kind} is fixed by its API", hint=hint)
    if job.engine.ended(job.object):
        raise shell.SkillError("conflict", f"{job.name} has ended", hint=f"create it with --nodes {nodes}")


def _must_restart(job: Job) -> bool:
    """HyperPod's operator has its own answer to a changed size, and no suspension."""
    return "elasticPolicy" not in job.object["spec"] and job.engine.suspend_patch(job.object, True) is not None


def suspend(cluster: kube.Cluster, job: Job, flag: bool, *, dry_run: bool) -> shell.Result:
    """Suspended, the job keeps its object and loses its pods. Raises SkillError usage, conflict."""
    word = "suspend" if flag else "resume"
    refuse(job, word)
    changes = job.engine.suspend_patch(job.object, flag)
    if changes is None:
        hint = f"{_delete_call(job)}; created again it goes on {how_it_goes_on(job)}"
        raise shell.SkillError("usage", f"a {job.engine.kind} cannot {word}", hint=hint)
    if job.engine.ended(job.object):
        raise shell.SkillError(
            "conflict", f"{job.name} has ended; there is nothing to {word}", hint=call_for("status", job.name, job.run_id)
        )
    data = {**about(cluster, job), "suspended": flag}
    if job.engine.is_suspended(job.object) == flag:
        return shell.Result(data)
    checks = losses(job) if flag else [*losses(job), *claims_stay(cluster, claims(job.object))]
    if SCALING in kube.notes(job.object):  # a scale that was cut off must not resume it later
        changes = [*changes, _unmark()]
    patch(cluster, job, changes, dry_run=dry_run)
    if dry_run:
        return shell.Result({**data, "patch": changes}, checks=checks)
    then = call_for("status", job.name, job.run_id)
    return shell.Result(data, checks=checks, changed=[f"{word} {job.name}"], next=[then])


def delete(
    cluster: kube.Cluster, timeout_s: float, *, name: str, run_id: str, engine: str | None, yes: bool, dry_run: bool
) -> shell.Result:
    """The job and its pods; never a claim. Returns when the pods are gone. Raises SkillError: confirm, conflict, permission, timeout.

    `absent` is said of the kinds that were read: data.unread names others, where there are any.
    """
    check_words(name, run_id)
    again = call_for("delete", name, run_id, *(["--engine", engine] if engine else []), "--yes")
    try:
        job = find_with_pods(cluster, name, run_id, engine)
    except shell.SkillError as error:
        if error.code != "not-found":
            raise
        # An earlier call may have been cut off while the pods ended.
        wait_for_no_pods(cluster, f"{kube.RUN}={name},{kube.RUN_ID}={run_id}", timeout_s, again)
        left = {"unread": error.data["unread"]} if error.data["unread"] else {}
        data = {"name": name, "run_id": run_id, "state": "absent", **left, "cluster": cluster.identity()}
        return shell.Result(data, checks=error.checks, ok=True)
    kind = f"{job.engine.kind} {cluster.namespace}/{name}"
    plan = {**about(cluster, job), "deletes": [f"{kind}, and its pods"], "keeps": claims(job.object)}
    if dry_run:
        cluster.delete(job.engine.path(cluster, name), job.uid, dry_run=True)
        return shell.Result(plan)
    shell.confirm(yes, plan, what=f"delete {job.engine.kind} {name} and its pods", hint=again)
    cluster.delete(job.engine.path(cluster, name), job.uid)
    deadline = time.monotonic() + timeout_s
    wait_for_no_pods(cluster, job.selector, timeout_s, again)
    _wait_for_no_object(cluster, job, deadline, again)
    return shell.Result({**plan, "state": "absent"}, changed=[f"deleted {kind}"])


def _delete_call(job: Job) -> str:
    return call_for("delete", job.name, job.run_id, "--yes")


def about(cluster: kube.Cluster, job: Job) -> Object:
    return {"name": job.name, "engine": job.engine.name, "run_id": job.run_id, "uid": job.uid, "cluster": cluster.identity()}


# --- the requests ------------------------------------------------------------------------------------------------


def patch(cluster: kube.Cluster, job: Job, changes: Patch, *, dry_run: bool = False) -> None:
    """Raises SkillError conflict when another object has taken the name since it was read."""
    job.object = cluster.amend(job.engine.path(cluster, job.name), job.uid, changes, dry_run=dry_run)


def _annotate(key: str, value: str) -> Object:
    return {"op": "add", "path": _at(key), "value": value}


def _unmark() -> Object:
    return {"op": "remove", "path": _at(SCALING)}


def _at(key: str) -> str:
    return "/metadata/annotations/" + key.replace("/", "~1")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def wait_for_no_pods(cluster: kube.Cluster, selector: str, timeout_s: float, again: str) -> None:
    """Raises SkillError timeout. Ended pods count too: the operator does not make a pod anew while its namesake is there."""
    deadline, told = time.monotonic() + timeout_s, -1
    while left := cluster.pods(selector):
        if len(left) != told:
            shell.progress(f"{len(left)} pods are still there; they have time to save")
            told = len(left)
        if time.monotonic() > deadline:
            message = f"{len(left)} pods are still ending, {kube.name(left[0])} among them"
            raise shell.SkillError("timeout", message, hint=again, retryable=True)
        time.sleep(POLL_S)


def _wait_for_no_object(cluster: kube.Cluster, job: Job, deadline: float, again: str) -> None:
    """Raises SkillError timeout: a finalizer holds the object, whose name is not free before."""
    while (left := cluster.find(job.engine.path(cluster, job.name))) and left["metadata"]["uid"] == job.uid:
        if time.monotonic() > deadline:
            held = ", ".join(left["metadata"].get("finalizers") or []) or "nobody who says so"
            message = f"{job.name} is being deleted and still there, held by {shell.clean(held, 200)}"
            raise shell.SkillError("timeout", message, hint=again, retryable=True)
        time.sleep(min(POLL_S, 0.2))


# --- what outlives its pods: without a volume claim a stop is a loss, and says so ---------------------------------


def how_it_goes_on(job: Job) -> str:
    """Once its pods have been stopped and are made again."""
    return (
        "from its newest checkpoint"
        if claims(job.object)
        else "from step 0: it has no volume claim, and its files end with its pods"
    )


def losses(job: Job) -> list[shell.Check]:
    """A warning for whoever stops the pods of a job without a volume; [] of one with."""
    if claims(job.object):
        return []
    summary = f"{job.name} has no volume claim: checkpoints in its pods end with them, and it begins again at step 0"
    return [
        shell.Check(
            "checkpoints", "warn", summary, None, "create it with checkpoints.storage or --claim (checkpoint-manager makes one)"
        )
    ]
