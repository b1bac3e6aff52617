"""What target local asks of local-runner and monitor, and what it reads in their answers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import deploy_checks
import trainyard_shell as shell
from deploy_siblings import Answer, call
from deploy_stages import MONITOR, RUNNER

if TYPE_CHECKING:
    from deploy_plan import Deployment

ABSENT = "absent"
ENDED = ("finished", "failed", "stopped")
UNFINISHED = ("lost", "orphaned")
"""The supervisor died: the job was not ended by anybody and goes on when it is submitted again."""
SUBMIT_TIMEOUT_S = 300.0
"""A submit may first end what a lost supervisor left behind, with its grace."""


def submit_arguments(deployment: Deployment, run_id: str, *, resume: bool = False, dry_run: bool = False) -> list[str]:
    """The arguments of `run_local.py submit`: the whole job, as one list."""
    job_file, job = deployment.job_file, deployment.job_file.job
    checkpoints = {
        "TRAINYARD_ROLLING_STEPS": job.checkpoints.rolling_steps,
        "TRAINYARD_KEEP_ROLLING": job.checkpoints.keep_rolling,
        "TRAINYARD_KEEP_EPOCHS": job.checkpoints.keep_epochs,
    }
    variables = [f"{name}={value}" for name, value in {**checkpoints, **job.env}.items()]
    return [
        "submit",
        *("--run-dir", str(deployment.run_dir), "--run-id", run_id, "--name", job.name),
        *("--workdir", str(job_file.source), "--python", str(deploy_checks.interpreter(job_file))),
        *("--procs", job_file.procs, "--max-restarts", str(job.monitor.max_restarts)),
        *("--stop-grace-s", f"{deploy_checks.STOP_GRACE_S:g}"),
        *(word for variable in variables for word in ("--env", variable)),
        *(["--resume"] if resume else []),
        *(["--dry-run"] if dry_run else []),
        "--",
        *job_file.command.words,
    ]


def submit(arguments: list[str]) -> Answer:
    return call(RUNNER, arguments, timeout_s=SUBMIT_TIMEOUT_S).or_raise()


def runner_status(run_dir: Path) -> dict[str, Any]:
    """What the runner says of this run folder; state `absent` when nothing was ever submitted there."""
    answer = call(RUNNER, ["status", str(run_dir)])
    if answer.error_code == "not-found":
        return {"state": ABSENT}
    state = answer.or_raise().data.get("state")
    if not isinstance(state, str):
        raise shell.SkillError("internal", f"local-runner status has no state: {shell.clean(str(answer.document), 300)}")
    return answer.data


def wait(run_dir: Path, timeout_s: float) -> dict[str, Any]:
    """The runner's status once the job has ended, or after `timeout_s`."""
    answer = call(RUNNER, ["wait", str(run_dir), "--timeout", f"{timeout_s:.1f}"], timeout_s=timeout_s + 60)
    if answer.error_code != "timeout" or "state" not in answer.data:
        answer.or_raise()
    return answer.data


def states(runs: Path) -> dict[str, str]:
    """State by name of run folder, for every run that was submitted in this folder."""
    answer = call(RUNNER, ["list", str(runs), "--limit", "1000"]).or_raise()
    return {Path(row["run_dir"]).name: str(row["state"]) for row in answer.data.get("runs", [])}


def stop(run_dir: Path, *, now: bool, dry_run: bool) -> Answer:
    arguments = ["stop", str(run_dir), *(["--now"] if now else []), *(["--dry-run"] if dry_run else [])]
    return call(RUNNER, arguments, timeout_s=SUBMIT_TIMEOUT_S).or_raise()


def progress(run_dir: Path) -> dict[str, Any]:
    """The monitor's status; {} when it cannot answer: looking must never end a run."""
    try:
        answer = call(MONITOR, ["status", str(run_dir)])
    except shell.SkillError:
        return {}
    return answer.data if answer.ok else {}


def health(run_dir: Path, stall_factor: float) -> list[shell.Check]:
    """The monitor's checks. No answer is `unknown`, never healthy."""
    try:
        answer = call(MONITOR, ["health", str(run_dir), "--stall-factor", f"{stall_factor:g}"])
    except shell.SkillError as error:
        return [shell.Check("monitor", "unknown", f"the monitor did not answer: {error}", fix=error.hint or None)]
    if answer.checks:
        return answer.checks
    message = (answer.document.get("error") or {}).get("message", "no checks")
    return [shell.Check("monitor", "unknown", f"the monitor did not answer: {message}")]


def report(run_dir: Path, output: str | None, stall_factor: float, *, dry_run: bool = False) -> Answer:
    more = [*(["--output", output] if output else []), *(["--dry-run"] if dry_run else [])]
    return call(MONITOR, ["report", str(run_dir), "--stall-factor", f"{stall_factor:g}", *more]).or_raise()
