"""What is being deleted: nothing more is asked of a job that goes, nor begun on a volume claim that goes."""

from __future__ import annotations

from collections.abc import Iterable

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_find import Job, call_for
from trainyard_finding import Finding, age_s, how_long
from trainyard_kube import Object


def refuse(job: Job, verb: str) -> None:
    """Raises SkillError conflict for a job that is being deleted: whatever it is asked, it does not do it."""
    if kube.is_going(job.object):
        message = f"{job.engine.kind} {job.name} is being deleted{_held(job.object)}: it cannot {verb}"
        raise shell.SkillError("conflict", message, hint=call_for("status", job.name, job.run_id), retryable=True)


def refuse_existing(thing: Object, run_id: str) -> None:
    """The same for `create`, whosever the job of that name is."""
    if kube.is_going(thing):
        whose = "" if kube.owner(thing) == run_id else ", and is not of this run"
        message = f"{thing['kind']} {kube.name(thing)} is being deleted{_held(thing)}{whose}"
        raise shell.SkillError("conflict", message, hint="the same call once it is gone", retryable=True)


def claims_stay(cluster: kube.Cluster, names: Iterable[str]) -> list[shell.Check]:
    """Raises SkillError conflict where one is being deleted: a pod that is made from now on does not get it. An unknown check
    for one that may not be read; a claim that is not there yet is waited for."""
    checks: list[shell.Check] = []
    for name in names:
        with kube.noted("claim", checks):
            claim = cluster.find(cluster.namespaced("v1", "persistentvolumeclaims", name))
            if claim and kube.is_going(claim):
                message = f"PersistentVolumeClaim {name} is being deleted{_held(claim)}: no new pod gets it"
                hint = "another claim, or the same call once it is gone and made anew (checkpoint-manager ensure-volume)"
                raise shell.SkillError("conflict", message, hint=hint, retryable=True)
    return checks


def finding(job: Job) -> list[Finding]:
    """Why a job that is being deleted is still there."""
    if not kube.is_going(job.object):
        return []
    since = how_long(age_s(job.object["metadata"]["deletionTimestamp"]))
    held = _held(job.object) or f": {len(job.pods)} pods are still ending"
    fix = f"{call_for('delete', job.name, job.run_id, '--yes')} waits for it; kubectl get {job.engine.plural} {job.name} -o yaml shows its finalizers"
    return [Finding("job.deleting", f"it was deleted {since} ago and is still there{held}", fix)]


def _held(thing: Object) -> str:
    finalizers = [str(each) for each in thing["metadata"].get("finalizers") or []]
    return shell.clean(f" (held by {', '.join(finalizers)})", 200) if finalizers else ""
