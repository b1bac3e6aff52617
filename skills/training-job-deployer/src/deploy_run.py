"""`run` and `resume`: plan, then the stages in order, run.json replaced after each; never a second job.

Everything up to the submission happens under the run's lock. Before each call its record is written as begun; whoever
is started next asks the runner what became of it. Watching holds no lock, so any number of callers may watch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import deploy_local
import deploy_plan
import deploy_siblings
import deploy_source
import deploy_state
import deploy_watch
import trainyard_shell as shell
from deploy_plan import Deployment
from deploy_stages import RUNNABLE
from deploy_state import Run, StageRecord


def run(deployment: Deployment, *, fresh: bool, resume: bool, detach: bool, timeout_s: float) -> shell.Result:
    """Exit 0 only when the job finished (or, with `detach`, was submitted)."""
    refuse_unrunnable(deployment)
    deadline = time.monotonic() + timeout_s
    with deploy_state.locked(deployment.run_dir):
        changed = [_put_aside(deployment)] if fresh and deploy_state.load(deployment.run_dir) else []
        current, state, started = _prepare(deployment, resume)
    if started:
        changed.append(f"started {current.name} (run {current.run_id}) in {deployment.run_dir}")
    if detach and state not in deploy_local.ENDED:
        return _submitted(deployment, current, state, changed)
    result = deploy_watch.to_the_end(deployment, current, already=None if started else state, deadline=deadline)
    result.changed = changed + result.changed
    return result


def preview(deployment: Deployment, *, resume: bool) -> shell.Result:
    """--dry-run: the plan, and the very call that would be made."""
    refuse_unrunnable(deployment)
    data = deploy_plan.describe(deployment)
    run_id = data["run_id"] or "0" * 16
    data["would_call"] = ["run_local.py", *deploy_local.submit_arguments(deployment, run_id, resume=resume)]
    return shell.Result(data=data, checks=deploy_plan.problems(deployment))


def refuse_unrunnable(deployment: Deployment) -> None:
    """A target whose skills are missing, or whose stages this program cannot run yet."""
    target = deployment.job_file.job.target
    if target in RUNNABLE:
        for stage in deployment.stages:
            deploy_siblings.script(stage.skill, stage.script)
        return
    missing = [stage for stage in deployment.stages if not deploy_siblings.is_there(stage.skill, stage.script)]
    if missing:
        names = ", ".join(dict.fromkeys(stage.skill for stage in missing))
        first = missing[0]
        hint = f"put these folders into {deploy_siblings.SKILLS_FOLDER} (./install.sh in a checkout that has them links all), or target: local"
        raise shell.SkillError(
            "dependency", f"target {target} needs the skill folders {names}; stage {first.name} cannot run", hint=hint
        )
    hint = f"this version runs: {', '.join(RUNNABLE)}; `plan` shows the stages"
    raise shell.SkillError("usage", f"target {target} can be planned, not run, by this version", hint=hint)


# --- under the lock ------------------------------------------------------------------------------------------------


def _put_aside(deployment: Deployment) -> str:
    """--fresh: the old run keeps its folder under another name. Refused while it lives."""
    run = deploy_state.load(deployment.run_dir)
    assert run is not None
    state = deploy_local.runner_status(deployment.run_dir)["state"]
    if state not in (*deploy_local.ENDED, deploy_local.ABSENT, "lost"):
        message = f"{run.name} (run {run.run_id}) is {state}; --fresh does not set a living run aside"
        raise shell.SkillError(
            "conflict", message, hint=f"{deployment.ref.command('run')}, or first {deployment.ref.command('stop')}"
        )
    aside = deploy_state.set_aside(deployment.run_dir, run.run_id)
    shell.progress(f"the old run is kept in {aside}")
    return f"set aside the old run as {aside}"


def _prepare(deployment: Deployment, resume: bool) -> tuple[Run, str, bool]:
    """(the run, its state, whether this call started it)."""
    if "@" in deployment.run_dir.name:
        original = deployment.run_dir.name.partition("@")[0]
        message = f"{deployment.run_dir.name} was set aside by --fresh and is kept to be looked at"
        raise shell.SkillError("conflict", message, hint=f"to go on with it, set {original} aside and rename the folder back")
    run = deploy_state.load(deployment.run_dir)
    state = deploy_local.runner_status(deployment.run_dir)["state"] if run else deploy_local.ABSENT
    if run is None or state == deploy_local.ABSENT:
        if resume and run is None:
            raise shell.SkillError(
                "not-found", f"no run {deployment.job_file.job.name} to resume", hint=deployment.ref.command("run")
            )
        return _submit_first(deployment, run), "starting", True
    _note_submitted(deployment, run)
    goes_on = state in deploy_local.UNFINISHED or (resume and state in ("failed", "stopped"))
    _refuse_changed(deployment, run, state, source_may_change=resume and goes_on)
    if not goes_on:
        return run, state, False
    shell.progress(f"{run.name} is {state}; it goes on from its newest checkpoint")
    _refuse_problems(deployment)
    _submit(deployment, run, resume=True)
    return run, "starting", True


def _submit_first(deployment: Deployment, run: Run | None) -> Run:
    """Nothing was submitted yet: take the inputs as they are now, under the run id that was written first."""
    _refuse_problems(deployment)
    job = deployment.job_file.job
    run = run or deploy_state.new(job.name, job.target, deployment.job_file.path)
    run.stages = {name: record for name, record in run.stages.items() if run.done(name, deployment.digest(name))}
    _take_inputs(deployment, run)
    deploy_state.save(deployment.run_dir, run)
    if not run.done("check", deployment.digest("check")):
        arguments = deploy_local.submit_arguments(deployment, run.run_id, dry_run=True)
        _stage(deployment, run, "check", arguments, lambda: deploy_local.submit(arguments).data)
    _submit(deployment, run, resume=False)
    return run


def _submit(deployment: Deployment, run: Run, *, resume: bool) -> None:
    """One call to the runner, which starts one job for one run id however often it is called."""
    _take_inputs(deployment, run)
    for later in ("watch", "report"):
        run.stages.pop(later, None)
    before = run.stages.get("submit")
    # the very call of the first time: `python: auto` may mean another interpreter for another caller
    arguments = list(before.request) if resume and before else deploy_local.submit_arguments(deployment, run.run_id)
    if resume and "--resume" not in arguments:
        arguments.insert(arguments.index("--"), "--resume")
    _stage(deployment, run, "submit", arguments, lambda: deploy_local.submit(arguments).data)


def _stage(deployment: Deployment, run: Run, name: str, request: list[str], do: Callable[[], dict[str, Any]]) -> None:
    """Record as begun, do, record the answer: each record is on the disk before the next thing happens."""
    record = StageRecord(
        digest=deployment.digest(name), program=deployment.stage(name).program, begun=time.time(), request=request
    )
    run.stages[name] = record
    deploy_state.save(deployment.run_dir, run)
    shell.progress(f"{name}: {record.program}")
    record.result = do()
    record.ended = time.time()
    deploy_state.save(deployment.run_dir, run)


def _note_submitted(deployment: Deployment, run: Run) -> None:
    """The caller before us was killed after the submission and before its answer was written."""
    record = run.stages.get("submit")
    if record is not None and record.ended is None:
        record.ended, record.result = time.time(), {"answer": "not read: the caller was killed; the runner holds the job"}
        deploy_state.save(deployment.run_dir, run)


def _take_inputs(deployment: Deployment, run: Run) -> None:
    import msgspec

    run.inputs = dict(deployment.inputs)
    run.job_file = str(deployment.job_file.path)
    run.job = msgspec.to_builtins(deployment.job_file.job)


def _refuse_problems(deployment: Deployment) -> None:
    """A plan with a failed check makes nothing."""
    checks = deploy_plan.problems(deployment)
    failed = [check for check in checks if check.status == "fail"]
    for check in checks:
        if check.status == "warn":
            shell.progress(f"warning: {check.id}: {check.summary}")
    if failed:
        raise PlanFailed(deployment, checks)


class PlanFailed(Exception):
    """Not a refusal of the call but an answer: no, this job cannot run here."""

    def __init__(self, deployment: Deployment, checks: list[shell.Check]) -> None:
        super().__init__(deployment.job_file.job.name)
        self.result = shell.Result(
            data=deploy_plan.describe(deployment),
            checks=checks,
            next=[f"mend what failed, then {deployment.ref.command('plan')}"],
            ok=False,
        )


def _refuse_changed(deployment: Deployment, run: Run, state: str, *, source_may_change: bool) -> None:
    """After the submission the inputs stand: other inputs are another run. A resume may bring mended source files."""
    stage = deployment.stage("submit")
    keys = [key for key in (*stage.keys, "source files") if run.inputs.get(key) != deployment.inputs[key]]
    if not keys or (source_may_change and keys == ["source files"]):
        return
    told = ", ".join(_told(deployment, run, key) for key in keys)
    message = f"{run.name} (run {run.run_id}) is {state}, and its inputs changed since it was submitted: {told}"
    raise shell.SkillError("conflict", message, hint=_way_out(deployment, state, keys))


def changed_since(deployment: Deployment) -> list[shell.Check]:
    """A warning in the plan where `run` will refuse, for the inputs are no longer those of the run that is there."""
    run = deploy_state.load(deployment.run_dir)
    if run is None or "submit" not in run.stages:
        return []
    keys = [key for key in (*deployment.stage("submit").keys, "source files") if run.inputs.get(key) != deployment.inputs[key]]
    if not keys:
        return []
    told = ", ".join(_told(deployment, run, key) for key in keys)
    fix = f"put them back, or {deployment.ref.command('run', '--fresh')} starts a new run and keeps this one"
    summary = f"changed since run {run.run_id} was submitted, so `run` refuses to go on with it: {told}"
    return [shell.Check("inputs.changed", "warn", summary, fix=fix)]


def _way_out(deployment: Deployment, state: str, keys: list[str]) -> str:
    command = deployment.ref.command
    if state not in (*deploy_local.ENDED, "lost"):
        return f"put the inputs back, or {command('status')} looks and {command('stop')} ends it"
    fresh = f"{command('run', '--fresh')} starts a new run and keeps this one"
    resumable = keys == ["source files"] and state != "finished"
    return f"{command('resume')} goes on with the source as it is now; {fresh}" if resumable else f"put them back, or {fresh}"


def _told(deployment: Deployment, run: Run, key: str) -> str:
    if key != "source files":
        return key
    submitted = run.stages["submit"].begun if "submit" in run.stages else run.created
    newer = deploy_source.newer_than(deployment.job_file.source, submitted)
    return f"source files ({', '.join(newer) if newer else 'one is gone, or has an older date'})"


def _submitted(deployment: Deployment, run: Run, state: str, changed: list[str]) -> shell.Result:
    data = {
        "name": run.name,
        "run_id": run.run_id,
        "state": state,
        "run_dir": str(deployment.run_dir),
        "checkpoints": str(deployment.run_dir / "checkpoints"),
    }
    return shell.Result(
        data=data, changed=changed, next=[deployment.ref.command("status"), f"{deployment.ref.command('run')}   (watches it)"]
    )
