"""`run` and `resume`: plan, then the stages in order, run.json replaced after each; never a second job.

Everything up to the submission happens under the run's lock. Before each call its record is written as begun; whoever
is started next asks the place what became of it. Watching holds no lock, so any number of callers may watch.
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

import deploy_agree
import deploy_budget
import deploy_fresh
import deploy_place
import deploy_plan
import deploy_preview
import deploy_settle
import deploy_watch
import trainyard_shell as shell
from deploy_place import ABSENT, ENDED, RESUMABLE, UNFINISHED
from deploy_plan import place_of
from deploy_siblings import Call
from deploy_stage import Stage
from deployment import Deployment
from run_state import home, lock, record, store
from run_state.record import Restarted, Run, StageRecord


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the caller asked for."""

    fresh: bool = False
    resume: bool = False
    accept_changes: bool = False
    """resume: with the job file as it is now."""
    from_step: int | None = None
    """resume: from this checkpoint; newer ones are set aside."""
    detach: bool = False
    yes: bool = False
    timeout_s: float = 0.0
    restart: Restarted | None = None
    """resume: only the very start that failed, and only if nobody has started or stopped the run since."""


@dataclass
class Prepared:
    """What stands when the lock is given back."""

    run: Run
    state: str
    started: bool
    """Whether this call started the job."""
    changed: list[str] = field(default_factory=list)


def run(deployment: Deployment, wish: Wish) -> shell.Result:
    """Exit 0 only when the job finished (or, with `detach`, was submitted)."""
    deploy_preview.refuse_missing_skills(deployment)
    deadline = time.monotonic() + wish.timeout_s
    changed: list[str] = []
    with lock.locked(deployment.run_dir):
        deploy_settle.settle(deployment.run_dir)
        if wish.fresh:
            with deploy_fresh.stepping_aside(deployment, wish.yes) as changed:
                prepared = _prepare(deployment, wish)
        else:
            prepared = _prepare(deployment, wish)
    current = prepared.run
    if prepared.started:
        changed += [f"started {current.name} (run {current.run_id}) in {deployment.run_dir}", *prepared.changed]
    if wish.detach and prepared.state not in ENDED:
        return _submitted(deployment, current, prepared.state, changed)
    already = None if prepared.started else prepared.state
    result = deploy_watch.to_the_end(deployment, current, already=already, deadline=deadline)
    result.changed = changed + result.changed
    return result


def restart(deployment: Deployment, failed: Restarted) -> Prepared:
    """Starts again what has failed, as `resume` does; `started` is False where somebody else did, or stopped it, in the meantime."""
    with lock.locked(deployment.run_dir):
        deploy_settle.settle(deployment.run_dir)
        return _prepare(deployment, Wish(resume=True, yes=True, restart=failed))


def end_hung(deployment: Deployment, start: int) -> bool:
    """Ends a run that hangs, as `stop` does; False where it is no longer the start that hung. `restart` starts it again."""
    with lock.locked(deployment.run_dir):
        current = store.load(deployment.run_dir)
        if current is None or current.starts != start or current.stop_asked:
            return False
        place = deploy_place.of(current.target, deployment.run_dir)
        if place.status(current)["state"] != "running":
            return False
        current.ended_as_hung = True  # before it ends: whoever is killed in between left word of it
        store.save(deployment.run_dir, current)
    shell.progress(f"{current.name} hangs and is ended; it {place.where_it_begins(current)}")
    place.stop(current, now=False, dry_run=False)
    return True


# --- under the lock ------------------------------------------------------------------------------------------------


def _prepare(deployment: Deployment, wish: Wish) -> Prepared:
    if "@" in deployment.run_dir.name:
        original = deployment.run_dir.name.partition("@")[0]
        message = f"{deployment.run_dir.name} was set aside by --fresh and is kept to be looked at"
        raise shell.SkillError("conflict", message, hint=f"to go on with it, set {original} aside and rename the folder back")
    current = store.load(deployment.run_dir)
    if current is not None:
        home.refuse_copy(deployment.run_dir, current)
        home.bring_home(deployment.run_dir, current)
    state = deploy_place.of(current.target, deployment.run_dir).status(current)["state"] if current else ABSENT
    if wish.restart is not None and current is not None and not _as_found(current, state, wish.restart):
        return Prepared(current, state, started=False)
    if current is None or state == ABSENT:
        if wish.resume and current is None:
            raise shell.SkillError("not-found", f"no run {deployment.job.name} to resume", hint=deployment.ref.command("run"))
        return _submit_first(deployment, current, wish)
    if _note_submitted(deployment, current):
        state = deploy_place.of(current.target, deployment.run_dir).status(current)["state"]
    if current.submission is None:  # killed between taking the changes and submitting them
        deployment.accepts = True
        return _submit_first(deployment, current, wish)
    goes_on = state in UNFINISHED or (wish.resume and state in RESUMABLE)
    # a finished run has nothing left to do, unless the job file now asks for more
    if wish.from_step is not None and state not in RESUMABLE:
        message = f"{current.name} is {state}: only a run that has ended goes back to an older checkpoint"
        hint = deployment.ref.command("status" if state == "finished" else "stop")
        raise shell.SkillError("conflict", message, hint=hint)
    if (goes_on or state == "finished") and wish.accept_changes and deployment.changed_keys(current):
        return _submit_changed(deployment, current, wish)
    # who resumes may have mended the source; a restart by itself must not take what somebody is writing there
    mended = wish.resume and goes_on and wish.restart is None
    deploy_agree.refuse_changed(deployment, current, state, source_may_change=mended)
    if not goes_on:
        return Prepared(current, state, started=False)
    deploy_budget.refuse_used_up(deployment, current)
    deploy_agree.refuse_problems(deployment, current)
    back = _roll_back(deployment, current, wish)
    shell.progress(f"{current.name} is {state}; it {place_of(deployment).where_it_begins(current)}")
    place_of(deployment).clear(current)
    _count(current, wish.restart)
    _submit(deployment, current, again=True)
    return Prepared(current, "starting", started=True, changed=back)


def _as_found(current: Run, state: str, failed: Restarted) -> bool:
    """Whether the run is still as its watcher found it. ABSENT: the restart was begun, and its caller killed before the call."""
    if current.starts != failed.start or current.stop_asked:
        return False
    begun = state == ABSENT and bool(current.restarts) and current.restarts[-1].start == current.starts - 1
    hung = current.ended_as_hung and state in ("stopped", "gone")
    return begun or hung or state in ("failed", *UNFINISHED)


def _count(current: Run, restarted: Restarted | None) -> None:
    """A restart of one failure counts once, also where its caller was killed before the job was started; a user's start begins anew."""
    if restarted is None:
        current.restarts = []
        return
    before = current.restarts[-1:]
    if before and restarted.attempt is not None and before[0].attempt == restarted.attempt:
        current.restarts.pop()
    current.restarts.append(restarted)


def _submit_changed(deployment: Deployment, current: Run, wish: Wish) -> Prepared:
    """resume --accept-changes: the same run and its checkpoints, submitted anew from the job file as it is now."""
    deploy_agree.refuse_unacceptable(deployment, current)
    deploy_budget.refuse_used_up(deployment, current)
    planned = copy.copy(current)
    planned.stages = {name: record for name, record in current.stages.items() if name != deployment.submission.name}
    deployment.replaces = (
        True  # the ended job still holds the name; before it goes, the new one has to be possible and agreed to
    )
    deploy_agree.refuse_problems(deployment, planned)
    deploy_agree.refuse_without_yes(deployment, planned, wish.yes, "resume", "--accept-changes")
    deployment.replaces, deployment.accepts = False, True
    back = _roll_back(deployment, current, wish)
    place_of(deployment).clear(current)
    current.earlier_s = deploy_budget.spent_s(current)
    current.stages, current.stopped, current.restarts = planned.stages, None, []
    prepared = _submit_first(deployment, current, wish)
    prepared.changed[:0] = back
    return prepared


def _roll_back(deployment: Deployment, current: Run, wish: Wish) -> list[str]:
    """What --from-step changed. The start after a kill in between goes on from the same step: the newer ones are aside."""
    if wish.from_step is None:
        return []
    place = deploy_place.of(current.target, deployment.run_dir)
    done = place.roll_back(current, wish.from_step, dry_run=False).document
    shell.progress(f"checkpoints: back to step {wish.from_step}; the newer ones are set aside")
    return [str(each) for each in done.get("changed") or []]


def _submit_first(deployment: Deployment, current: Run | None, wish: Wish) -> Prepared:
    """Nothing was submitted yet: take the inputs as they are now, under the run id that was written first."""
    job = deployment.job
    if current is None and place_of(deployment).asks_yes and not wish.yes:
        current = deploy_plan.stand_in(deployment)  # which is only shown: a run id is drawn for what will be made
    current = current or record.new(job.name, job.target, deployment.job_file.path)
    deploy_agree.refuse_moved(deployment, current)
    if current.submission is not None and current.submission.ended is None:
        current.starts -= 1  # that call may still be on its way, and this one has to be the same
    # the volume stays the run's own, whatever else has changed: the fit has to know its zone
    stages = current.stages.items()
    current.stages = {name: record for name, record in stages if name == "storage" or deployment.done(current, name)}
    deploy_agree.refuse_problems(deployment, current)
    deploy_agree.refuse_without_yes(deployment, current, wish.yes, "run")
    _take_inputs(deployment, current)
    store.save(deployment.run_dir, current)
    changed: list[str] = []
    for stage in deployment.before_submission():
        if stage.name == "check":  # it asks whether the name is free
            changed += deployment.make_room()
            deployment.replaces = False
        if not deployment.done(current, stage.name):
            changed += _stage(deployment, current, stage, place_of(deployment).request(deployment, current, stage.name))
    changed += _submit(deployment, current, again=False)
    return Prepared(current, "starting", started=True, changed=changed)


def _submit(deployment: Deployment, current: Run, *, again: bool) -> list[str]:
    """One call to the runner or manager, which starts one job for one run id however often it is called."""
    _take_inputs(deployment, current)
    if again:
        current.earlier_s = deploy_budget.spent_s(current)
    current.starts += 1
    for later in ("watch", "report"):
        current.stages.pop(later, None)
    current.stopped, current.ended_as_hung, current.stop_asked = None, False, False
    before = current.submission
    # the very call of the first time: `python: auto` may mean another interpreter for another caller
    place = place_of(deployment)
    request = before.call if again and before else place.request(deployment, current, deployment.submission.name)
    if again:
        request = place.again(current, request)
    return _stage(deployment, current, deployment.submission, request)


def _stage(deployment: Deployment, current: Run, stage: Stage, request: Call) -> list[str]:
    """Record as begun, do, record the answer: each record is on the disk before the next thing happens."""
    record = StageRecord(digest=deployment.digest(stage.name), program=stage.program, begun=time.time(), request=request.words)
    record.document = request.document
    current.stages[stage.name] = record
    store.save(deployment.run_dir, current)
    shell.progress(f"{stage.name}: {record.program}")
    record.result = place_of(deployment).do(deployment, current, stage.name, request)
    current.cluster = current.cluster or _cluster_of(record.result)
    record.ended = time.time()
    store.save(deployment.run_dir, current)
    made = record.result.get("changed")
    return [str(each) for each in made] if isinstance(made, list) else []


def _cluster_of(result: dict[str, Any]) -> dict[str, Any]:
    cluster = result.get("cluster")
    return cluster if isinstance(cluster, dict) else {}


def _note_submitted(deployment: Deployment, current: Run) -> bool:
    """The caller before us was killed after the submission and before its answer was written. Whether it was so."""
    record = current.submission
    if record is None or record.ended is not None:
        return False
    # what was stopped meanwhile is not made again (`_submit` forgets the stop): nobody asked for it
    if current.stopped is None:
        record.result = deploy_place.of(current.target, deployment.run_dir).recall(current, record)
    record.ended = time.time()
    store.save(deployment.run_dir, current)
    return True


def _take_inputs(deployment: Deployment, current: Run) -> None:
    current.inputs, current.added = dict(deployment.inputs), list(deployment.added)
    current.job_file = str(deployment.job_file.path)
    current.target = deployment.job.target
    current.job = msgspec.to_builtins(deployment.job)


def _submitted(deployment: Deployment, current: Run, state: str, changed: list[str]) -> shell.Result:
    data = {
        "name": current.name,
        "run_id": current.run_id,
        "state": state,
        "run_dir": str(deployment.run_dir),
        **place_of(deployment).results(current),
    }
    return shell.Result(
        data=data, changed=changed, next=[deployment.ref.command("status"), f"{deployment.ref.command('run')}   (watches it)"]
    )
