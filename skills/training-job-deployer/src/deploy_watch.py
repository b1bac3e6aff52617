"""From the submission to the end: progress for the person who waits, then the last two records and the answer."""

from __future__ import annotations

import time
from typing import Any

import deploy_local
import deploy_state
import trainyard_shell as shell
from deploy_plan import Deployment
from deploy_state import Run, StageRecord

LOOK_INTERVAL_S = 10.0
"""Between two progress lines; the end of the job is noticed at once, because the runner waits for it."""


def to_the_end(deployment: Deployment, run: Run, *, already: str | None, deadline: float) -> shell.Result:
    """Watches until the job has ended. `already`: the state that was found, when this call started nothing.

    Raises SkillError timeout: after `deadline` (monotonic), or on Ctrl-C. The job goes on in both cases.
    """
    was_ended = already in deploy_local.ENDED
    try:
        if already and not was_ended:
            shell.progress(f"{run.name} is {already} already (run {run.run_id}); watching it")
        status = deploy_local.runner_status(deployment.run_dir) if was_ended else _watch(deployment, run, deadline)
    except KeyboardInterrupt as interrupt:
        raise _left(deployment, run, "you stopped watching") from interrupt
    problem = _finish(deployment, run, status)
    return _answer(deployment, run, status, was_ended, problem)


def _watch(deployment: Deployment, run: Run, deadline: float) -> dict[str, Any]:
    """The runner's status at the end."""
    last_line = ""
    while True:
        left_s = max(0.0, deadline - time.monotonic())
        status = deploy_local.wait(deployment.run_dir, min(LOOK_INTERVAL_S, left_s))
        line = deploy_local.progress(deployment.run_dir).get("line") or ""
        if line and line != last_line:
            shell.progress(line)
        elif status["state"] == "running":
            _tell_trouble(deployment)
        last_line = line
        if status["state"] in (*deploy_local.ENDED, *deploy_local.UNFINISHED):
            return status
        if time.monotonic() >= deadline:
            raise _left(deployment, run, "the time to watch is over")


def _tell_trouble(deployment: Deployment) -> None:
    """Nothing moved since the last look: is it stalled?"""
    for check in deploy_local.health(deployment.run_dir, deployment.job_file.job.monitor.stall_factor):
        if check.status == "fail":
            shell.progress(f"{check.id}: {check.summary}")


def _left(deployment: Deployment, run: Run, why: str) -> shell.SkillError:
    progress = deploy_local.progress(deployment.run_dir)
    told = f" ({progress['line']})" if progress.get("line") else ""
    message = f"{why}; {run.name} goes on without this program{told}"
    hint = f"{deployment.ref.command('status')} looks, {deployment.ref.command('run')} watches again, {deployment.ref.command('stop')} ends it"
    return shell.SkillError("timeout", message, hint=hint, retryable=True, data=_data(deployment, run, {}, progress))


def _finish(deployment: Deployment, run: Run, status: dict[str, Any]) -> str | None:
    """Writes the records of watch and report; returns why there is no report."""
    if status["state"] not in deploy_local.ENDED:
        return None
    with deploy_state.locked(deployment.run_dir):
        current = deploy_state.load(deployment.run_dir)
        if current is None or not _same_submission(current, run):
            return None  # somebody resumed it or set it aside while we looked: those records are theirs
        if not current.done("watch", deployment.digest("watch")):
            kept = ("state", "reason", "exit_code", "restarts", "attempt")
            since = current.stages["submit"].ended or current.stages["submit"].begun
            _record(deployment, current, "watch", since, {key: status.get(key) for key in kept})
        if current.done("report", deployment.digest("report")):
            return None
        begun = time.time()
        try:
            answer = deploy_local.report(deployment.run_dir, None, deployment.job_file.job.monitor.stall_factor)
        except shell.SkillError as error:
            return f"no report: {error}"
        _record(deployment, current, "report", begun, {key: answer.data.get(key) for key in ("path", "goodput")})
        return None


def _same_submission(current: Run, run: Run) -> bool:
    return current.run_id == run.run_id and current.stages["submit"].begun == run.stages["submit"].begun


def _record(deployment: Deployment, run: Run, name: str, begun: float, result: dict[str, Any]) -> None:
    program, digest = deployment.stage(name).program, deployment.digest(name)
    run.stages[name] = StageRecord(digest=digest, program=program, begun=begun, ended=time.time(), result=result)
    deploy_state.save(deployment.run_dir, run)


def _answer(deployment: Deployment, run: Run, status: dict[str, Any], was_ended: bool, problem: str | None) -> shell.Result:
    state, reason = status["state"], status.get("reason")
    words = f"{run.name} {'was' if was_ended else 'is'} {state}{' already' if was_ended else ''}"
    told = words if state == "finished" or not reason else f"{words}: {reason}"
    checks = [shell.Check("job.finished", "pass" if state == "finished" else "fail", told)]
    if problem:
        checks.append(shell.Check("report", "warn", problem))
    data = _data(deployment, run, status, deploy_local.progress(deployment.run_dir))
    if state == "failed":
        data["log_tail"] = _log_tail(deployment)
    return shell.Result(data=data, checks=checks, next=_next(deployment, state), ok=state == "finished")


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
    }


def _log_tail(deployment: Deployment) -> list[str]:
    path = max((deployment.run_dir / "logs").glob("attempt-*.log"), default=None)
    if path is None:
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 8192))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    return [shell.clean(line, 300) for line in lines[-15:]]


def _next(deployment: Deployment, state: str) -> list[str]:
    command = deployment.ref.command
    return {
        "finished": [f"{command('run', '--fresh')}   (a new run; this one is kept)"],
        "failed": [command("logs"), f"{command('resume')}   (after the cause is mended)"],
        "stopped": [f"{command('resume')}   (it was stopped by its user; `run` leaves it so)"],
        "lost": [f"{command('run')}   (its supervisor died; the same command goes on)"],
        "orphaned": [f"{command('run')}   (its supervisor died; the same command goes on)"],
    }.get(state, [command("status")])
