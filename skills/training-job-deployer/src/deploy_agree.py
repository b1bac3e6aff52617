"""What stands between a call and a job: problems, a plan that was not agreed to, inputs that changed after the submission."""

from __future__ import annotations

import msgspec

import deploy_plan
import trainyard_shell as shell
from deploy_place import ENDED
from deploy_plan import place_of
from deployment import Deployment
from job_file import source_files
from run_state import store
from run_state.record import Run


class PlanFailed(Exception):
    """Not a refusal of the call but an answer: no, this job cannot run here."""

    def __init__(self, deployment: Deployment, current: Run, checks: list[shell.Check]) -> None:
        super().__init__(deployment.job.name)
        self.result = shell.Result(
            data=deploy_plan.describe(deployment, current),
            checks=checks,
            next=[f"fix what failed, then {deployment.ref.command('plan')}"],
            ok=False,
        )


def refuse_problems(deployment: Deployment, current: Run) -> None:
    """A plan with a failed check makes nothing. What is unknown is told, and the program that makes things decides."""
    checks = deploy_plan.problems(deployment, current, strict=True)
    for check in checks:
        if check.status in ("warn", "unknown"):
            shell.progress(f"{'warning' if check.status == 'warn' else 'unknown'}: {check.id}: {check.summary}")
    if any(check.status == "fail" for check in checks):
        raise PlanFailed(deployment, current, checks)


def refuse_without_yes(deployment: Deployment, current: Run, yes: bool, *again: str) -> None:
    """Exit 6 with the plan, where a run costs money; `again` is the call that lacks --yes.

    Call it after `refuse_problems`: then the plan knows the cost.
    """
    if place_of(deployment).asks_yes and not yes:
        plan = deploy_plan.describe(deployment, current)
        shell.confirm(
            False,
            plan,
            what=str(plan.get("summary") or f"start {current.name} on {current.target}"),
            hint=deployment.ref.command(*again, "--yes"),
        )


def refuse_moved(deployment: Deployment, current: Run) -> None:
    """Another cluster in the job file before the submission: taken, unless a volume was already asked for in the old one."""
    if not current.cluster or current.inputs.get("cluster") == deployment.inputs["cluster"]:
        return
    if "storage" not in current.stages:  # nothing was made in the old one
        current.cluster = {}
        return
    where = f"{current.cluster.get('context')}, namespace {current.cluster.get('namespace')}"
    message = f"`cluster` changed, and the volume of run {current.run_id} was already asked for in context {where}"
    hint = f"put it back, or {deployment.ref.command('run', '--fresh')} starts a new run there"
    raise shell.SkillError("conflict", message, hint=hint)


def refuse_changed(deployment: Deployment, current: Run, state: str, *, source_may_change: bool) -> None:
    """After the submission the inputs stand: other inputs are another run. A resume may bring fixed source files."""
    keys = deployment.changed_keys(current)
    if not keys or (source_may_change and keys == ["source files"]):
        return
    told = ", ".join(_told(deployment, current, key) for key in keys)
    message = f"{current.name} (run {current.run_id}) is {state}, and its inputs changed since it was submitted: {told}"
    raise shell.SkillError("conflict", message, hint=_way_out(deployment, current, state, keys))


FIXED = ("name", "target", "engine", "cluster")
"""What a run keeps for its life: where it is, and what holds its objects."""


def refuse_unacceptable(deployment: Deployment, current: Run) -> None:
    """What `resume --accept-changes` does not take. The volume stays, for the checkpoints lie there."""
    if keys := _fixed(deployment, current):
        hint = f"put them back, or {deployment.ref.command('run', '--fresh')} starts a new run and keeps this one"
        raise shell.SkillError("conflict", f"a resume of {current.name} cannot change {', '.join(keys)}", hint=hint)


def _fixed(deployment: Deployment, current: Run) -> list[str]:
    """What has changed and must not."""
    keys = [key for key in deployment.changed_keys(current) if key in FIXED]
    before = current.job.get("checkpoints")
    now = deployment.job.checkpoints.storage
    if place_of(deployment).has_volume and isinstance(before, dict) and before.get("storage") != msgspec.to_builtins(now):
        keys.append("checkpoints.storage")
    return keys


def changed_since(deployment: Deployment) -> list[shell.Check]:
    """A warning in the plan where `run` will refuse, for the inputs are no longer those of the run that is there."""
    current = store.load(deployment.run_dir)
    if current is None or current.submission is None:
        return []
    keys = deployment.changed_keys(current)
    if not keys:
        return []
    told = ", ".join(_told(deployment, current, key) for key in keys)
    goes_on = f"{deployment.ref.command('resume', '--accept-changes')} goes on with them, "
    fix = f"put them back, {'' if _fixed(deployment, current) else goes_on}or {deployment.ref.command('run', '--fresh')} starts a new run and keeps this one"
    summary = f"changed since run {current.run_id} was submitted, so `run` refuses to go on with it: {told}"
    return [shell.Check("inputs.changed", "warn", summary, fix=fix)]


def _way_out(deployment: Deployment, current: Run, state: str, keys: list[str]) -> str:
    command = deployment.ref.command
    if state not in (*ENDED, "lost"):
        return f"put the inputs back, or {command('status')} looks and {command('stop')} ends it"
    fresh = f"{command('run', '--fresh')} starts a new run and keeps this one"
    if keys == ["source files"] and state != "finished":
        return f"{command('resume')} goes on with the source as it is now; {fresh}"
    if _fixed(deployment, current):
        return f"put them back, or {fresh}"
    agreed = ("--accept-changes", *(["--yes"] if place_of(deployment).asks_yes else []))
    return f"{command('resume', *agreed)} goes on with the job file as it is now; {fresh}"


def _told(deployment: Deployment, current: Run, key: str) -> str:
    if key != "source files":
        return key
    submitted = current.submission.begun if current.submission else current.created
    newer = source_files.newer_than(deployment.job_file.source, submitted)
    return f"source files ({', '.join(newer) if newer else 'one is gone, or has an older date'})"
