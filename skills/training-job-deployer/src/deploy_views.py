"""The verbs that look at a run, and `stop`: run.json, the runner's word and the monitor's, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import deploy_local
import deploy_siblings
import deploy_state
import trainyard_shell as shell
from deploy_ref import Ref
from deploy_stages import RUNNER
from deploy_state import Run

BRIEF = ("step", "total_steps", "loss", "tokens_per_s", "eta_s", "last_step_age_s", "last_checkpoint")
"""What `status` shows of the monitor's; the whole of it is one call away."""
WORST_FIRST = ("fail", "unknown", "warn", "pass")


def status(ref: Ref) -> shell.Result:
    run = _the_run(ref)
    runner = deploy_local.runner_status(ref.run_dir)
    progress = deploy_local.progress(ref.run_dir) if runner["state"] != deploy_local.ABSENT else {}
    checks = (
        deploy_local.health(ref.run_dir, _stall_factor(run))
        if runner["state"] != deploy_local.ABSENT
        else [_not_submitted(ref)]
    )
    data = {
        "name": run.name,
        "run_id": run.run_id,
        "state": runner["state"],
        "line": progress.get("line"),
        "health": _worst(checks),
        "reason": runner.get("reason"),
        "restarts": runner.get("restarts"),
        "max_restarts": runner.get("max_restarts"),
        "job_file": run.job_file,
        "run_dir": str(ref.run_dir),
        "checkpoints": str(ref.run_dir / "checkpoints"),
        "progress": {key: progress[key] for key in BRIEF if key in progress},
        "stages": [_stage_row(name, record) for name, record in run.stages.items()],
    }
    # The question is "how is it", and this is the answer, good or bad. So the monitor's checks are data here:
    # in `checks` one that failed or is unknown would make the answer itself a no.
    data["concerns"] = [
        {"id": check.id, "status": check.status, "summary": check.summary, "fix": check.fix}
        for check in checks
        if check.status not in ("pass", "skipped")
    ]
    return shell.Result(data=data, next=_next(ref, runner["state"]))


def logs(ref: Ref, options: list[str], *, follow: bool) -> shell.Result:
    """The runner's logs, word for word."""
    _the_run(ref)
    arguments = ["logs", str(ref.run_dir), *options]
    if not follow:
        return _passed_on(deploy_siblings.call(RUNNER, arguments))
    for item in deploy_siblings.stream(RUNNER, [*arguments, "--follow"]):
        if isinstance(item, deploy_siblings.Answer):
            return _passed_on(item)
        shell.emit(str(item.pop("type")), **item)
    raise AssertionError("a stream ends with its answer")


def stop(ref: Ref, *, now: bool, dry_run: bool) -> shell.Result:
    """Ends the job's processes. Nothing of the run is deleted, so no --yes is asked for."""
    run = _the_run(ref)
    before = deploy_local.runner_status(ref.run_dir)["state"]
    if before == deploy_local.ABSENT:
        raise shell.SkillError("not-found", f"{run.name} was never submitted", hint=ref.command("run"))
    answer = deploy_local.stop(ref.run_dir, now=now, dry_run=dry_run)
    data = {**answer.data, "name": run.name, "run_id": run.run_id, "checkpoints": str(ref.run_dir / "checkpoints")}
    result = shell.Result(data=data, checks=answer.checks, changed=answer.document.get("changed", []), ok=answer.ok)
    result.next = [f"{ref.command('resume')}   (goes on from the newest checkpoint)", ref.command("report")]
    return result


def report(ref: Ref, output: str | None, *, dry_run: bool) -> shell.Result:
    run = _the_run(ref)
    target = str(Path(output).absolute()) if output else None
    answer = deploy_local.report(ref.run_dir, target, _stall_factor(run), dry_run=dry_run)
    return _passed_on(answer)


def list_runs(folder: Path, limit: int) -> shell.Result:
    """Every run in this folder, those set aside by --fresh included."""
    found = sorted(path.parent for path in folder.glob("*/run.json"))
    states = deploy_local.states(folder) if found else {}
    rows = [_row(path, states) for path in found[:limit]]
    data = {"folder": str(folder), "total": len(found), "runs": rows}
    return shell.Result(data=data, truncated=len(found) > limit)


def _row(run_dir: Path, states: dict[str, str]) -> dict[str, Any]:
    state = states.get(run_dir.name, deploy_local.ABSENT)
    row: dict[str, Any] = {"run": run_dir.name, "state": state, "run_id": None, "job_file": None, "note": None}
    try:
        run = deploy_state.load(run_dir)
        if run is not None:
            row |= {"run_id": run.run_id, "job_file": run.job_file}
    except shell.SkillError as error:  # one damaged folder must not hide the others
        row["note"] = shell.clean(str(error), 200)
    return row


def _the_run(ref: Ref) -> Run:
    run = deploy_state.load(ref.run_dir)
    if run is None:
        raise shell.SkillError("not-found", f"no run in {ref.run_dir}", hint=f"{ref.command('run')} starts it")
    return run


def _passed_on(answer: deploy_siblings.Answer) -> shell.Result:
    answer.or_raise()
    document = answer.document
    return shell.Result(
        data=answer.data,
        checks=answer.checks,
        changed=document.get("changed", []),
        next=document.get("next", []),
        truncated=bool(document.get("truncated")),
        ok=answer.ok,
    )


def _stage_row(name: str, record: deploy_state.StageRecord) -> dict[str, Any]:
    seconds = record.ended - record.begun if record.ended is not None else None
    return {"stage": name, "state": "begun" if record.ended is None else "done", "program": record.program, "seconds": seconds}


def _stall_factor(run: Run) -> float:
    monitor = run.job.get("monitor")
    value = monitor.get("stall_factor") if isinstance(monitor, dict) else None
    return float(value) if isinstance(value, int | float) else 10.0


def _not_submitted(ref: Ref) -> shell.Check:
    return shell.Check("run.state", "unknown", "nothing was submitted yet", fix=ref.command("run"))


def _worst(checks: list[shell.Check]) -> str:
    found = {check.status for check in checks}
    return next((status for status in WORST_FIRST if status in found), "unknown")


def _next(ref: Ref, state: str) -> list[str]:
    verbs = {
        "finished": ["report"],
        "failed": ["logs", "resume"],
        "stopped": ["resume"],
        "lost": ["run"],
        "orphaned": ["run"],
        deploy_local.ABSENT: ["run"],
    }.get(state, ["logs", "stop"])
    return [ref.command(verb) for verb in verbs]
