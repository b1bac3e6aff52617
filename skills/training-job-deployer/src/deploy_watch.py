"""From the submission to the end: progress for the person who waits, then the last two records and the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import deploy_budget
import deploy_stopping
import trainyard_shell as shell
from deploy_live import LiveView
from deploy_notify import Calling
from deploy_place import ENDED, UNFINISHED, Look, is_hopeless
from deploy_plan import place_of
from deployment import Deployment
from run_state import lock, store
from run_state.record import Run, StageRecord


Hung = Callable[[Look], shell.Check | None]


def to_the_end(
    deployment: Deployment, run: Run, *, already: str | None, deadline: float, hung: Hung | None = None
) -> shell.Result:
    """Watches until the job has ended, or `hung` says that it will not. `already`: the state that was found, when this call started nothing.

    Raises SkillError timeout: after `deadline` (monotonic), or on Ctrl-C. The job goes on in both cases.
    """
    was_ended, seen = already in ENDED, list[Look]()
    try:
        if already and not was_ended:
            shell.progress(f"{run.name} is {already} already (run {run.run_id}); watching it")
        look = _look(deployment, run) if was_ended else _watch(deployment, run, deadline, seen, hung)
    except KeyboardInterrupt as interrupt:
        raise _left(deployment, run, "you stopped watching", seen) from interrupt
    notes = _finish(deployment, run, look)
    return _answer(deployment, run, look, was_ended, notes)


def _look(deployment: Deployment, run: Run) -> Look:
    place = place_of(deployment)
    return Look(place.status(run), place.progress(run))


def _watch(deployment: Deployment, run: Run, deadline: float, seen: list[Look], hung: Hung | None) -> Look:
    """The last look, at the end of the job; `seen` holds it at any time, for whoever is interrupted."""
    told: set[str] = set()
    place = place_of(deployment)
    spent_at = None if place.keeps_record else deploy_budget.deadline(run)
    with Calling(deployment.job.notify, place.as_monitored(run), deadline) as calling, LiveView(place, run) as view:
        for look in place.looks(run, deadline):
            seen[:] = [look]
            if spent_at is not None and time.monotonic() >= spent_at and look.status["state"] not in (*ENDED, *UNFINISHED):
                spent_at = None if _stop_spent(deployment, run) else spent_at
            line, again = look.progress.get("line") or "", _restarted(look.status)
            for text in [*again, line] if line and line not in told else [*again, *look.trouble()]:
                if text not in told and not view.draws:
                    shell.progress(text)
                told.add(text)
            if look.status["state"] in (*ENDED, *UNFINISHED) or look.endless:
                calling.ended()
                return look
            if hung is not None and (found := hung(look)) is not None:
                return replace(look, endless=found)
    raise _left(deployment, run, "the time to watch is over", seen)


def _restarted(status: dict[str, Any]) -> list[str]:
    """Why it was started again last."""
    if not status.get("restarts") or not status.get("last_failure"):
        return []
    of = f" of {status['max_restarts']}" if status.get("max_restarts") is not None else ""
    return [f"restart {status['restarts']}{of}: {status['last_failure']}"]


def _stop_spent(deployment: Deployment, run: Run) -> bool:
    """As `stop` would. False where the cluster did not take it: it is asked again at the next look."""
    why = f"stopped by {deploy_budget.name(run)}"
    shell.progress(f"{run.name} is {why}")
    try:
        deploy_stopping.ask(deployment.run_dir)
        deploy_stopping.stop_and_record(deployment.run_dir, run, place_of(deployment), now=False, why=why)
    except shell.SkillError as error:
        shell.progress(f"it could not be stopped: {error}")
        return False
    return True


def _left(deployment: Deployment, run: Run, why: str, seen: list[Look]) -> shell.SkillError:
    place = place_of(deployment)
    look = seen[-1] if seen else Look({}, {})
    if not look.progress or place.keeps_record:  # files of this machine tell at once how far it is now
        look = replace(look, progress=place.progress(run) or look.progress)
    told = f" ({look.progress['line']})" if look.progress.get("line") else ""
    message = f"{why}; {run.name} goes on without this program{told}"
    hint = f"{deployment.ref.command('status')} looks, {deployment.ref.command('run')} watches again, {deployment.ref.command('stop')} ends it"
    return shell.SkillError(
        "timeout", message, hint=hint, retryable=True, data=_data(deployment, run, look.status, look.progress)
    )


def _finish(deployment: Deployment, run: Run, look: Look) -> list[shell.Check]:
    """Writes the records of watch and report; returns why there is no report, or not all of it."""
    status = look.status
    if status["state"] not in ENDED:
        return []
    with lock.locked(deployment.run_dir):
        current = store.load(deployment.run_dir)
        if current is None or not _same_submission(current, run):
            return []  # somebody resumed it or set it aside while we looked: those records are theirs
        if not current.done("watch", deployment.digest("watch")):
            assert current.submission is not None
            kept = ("state", "reason", "exit_code", "restarts", "attempt")
            since = current.submission.ended or current.submission.begun
            # what `list` shows where no file of the run tells it
            came = {key: look.progress.get(key) for key in ("step", "loss")}
            _record(deployment, current, "watch", since, {key: status.get(key) for key in kept} | came)
        return [] if current.done("report", deployment.digest("report")) else _report(deployment, current)


def _report(deployment: Deployment, current: Run) -> list[shell.Check]:
    begun = time.time()
    try:
        answer, notes = place_of(deployment).report(current, None, dry_run=False)
    except shell.SkillError as error:
        return [shell.Check("report", "warn", f"no report: {error}", fix=error.hint or None)]
    if not notes:  # one that lacks something is tried again by the next `run`
        _record(deployment, current, "report", begun, {key: answer.data.get(key) for key in ("path", "goodput")})
    return notes


def _same_submission(current: Run, run: Run) -> bool:
    one, other = current.submission, run.submission
    return current.run_id == run.run_id and one is not None and other is not None and one.begun == other.begun


def _record(deployment: Deployment, run: Run, name: str, begun: float, result: dict[str, Any]) -> None:
    program, digest = deployment.stage(name).program, deployment.digest(name)
    run.stages[name] = StageRecord(digest=digest, program=program, begun=begun, ended=time.time(), result=result)
    store.save(deployment.run_dir, run)


def _answer(deployment: Deployment, run: Run, look: Look, was_ended: bool, notes: list[shell.Check]) -> shell.Result:
    state, reason = look.status["state"], look.status.get("reason")
    ended, already = ("failed", "had already failed") if state == "failed" else (f"is {state}", f"was {state} already")
    words = f"{run.name} {already if was_ended else ended}"
    told = words if state == "finished" or not reason else f"{words}: {reason}"
    lessons = place_of(deployment).lessons(run) if look.lessons is None else look.lessons
    checks = [shell.Check("job.finished", "pass" if state == "finished" else "fail", told), *lessons, *notes]
    checks += [look.endless] if look.endless else []
    told_of = look.progress.get("step") is not None or notes  # notes: not all of the run's files are here
    data = _data(deployment, run, look.status, look.progress if told_of else place_of(deployment).kept_progress(run))
    if state == "failed":
        data["log_tail"] = place_of(deployment).log_tail(run)
    again = _next(deployment, state, reason) if look.endless is None else _to_correct(deployment)
    return shell.Result(data=data, checks=checks, next=again, ok=state == "finished")


def _data(deployment: Deployment, run: Run, status: dict[str, Any], progress: dict[str, Any]) -> dict[str, Any]:
    folder = deployment.run_dir
    there = {"report": "report.html", "tensorboard": "tensorboard", "checkpoints": "checkpoints"}
    return {
        "name": run.name,
        "run_id": run.run_id,
        "state": status.get("state") or progress.get("state"),
        "reason": status.get("reason"),
        "restarts": status.get("restarts", progress.get("restarts")),
        "step": progress.get("step"),
        "total_steps": progress.get("total_steps"),
        "loss": progress.get("loss"),
        "run_dir": str(folder),
        **{key: str(folder / name) if (folder / name).exists() else None for key, name in there.items()},
        **place_of(deployment).results(run),
    }


def _to_correct(deployment: Deployment) -> list[str]:
    command = deployment.ref.command
    return [
        f"{command('stop')}   (it is still on the cluster)",
        f"{command('run', '--fresh')}   (after the cause is corrected)",
    ]


def _next(deployment: Deployment, state: str, reason: str | None) -> list[str]:
    command = deployment.ref.command
    if state == "failed" and is_hopeless(reason):
        return [command("why"), command("logs")]
    return {
        "finished": [f"{command('run', '--fresh')}   (a new run; this one is kept)"],
        "failed": [command("why"), command("logs"), f"{command('resume')}   (after the cause is fixed)"],
        "stopped": [f"{command('resume')}   (`run` does not restart a stopped run)"],
        "gone": [f"{command('resume')}   (its object was removed from the cluster; `run` does not recreate it)"],
        "lost": [f"{command('run')}   (its supervisor died; the same command goes on)"],
        "orphaned": [f"{command('run')}   (its supervisor died; the same command goes on)"],
    }.get(state, [command("status")])
