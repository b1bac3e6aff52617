"""The verbs that look at a run, and `stop`: run.json, the place's word and its checks, side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import deploy_place
import deploy_siblings
import deploy_stopping
import trainyard_shell as shell
from deploy_place import ABSENT, ENDED, Place, is_hopeless
from deploy_stage import MONITOR
from deployment import Ref
from run_state import home, store
from run_state.record import Run, StageRecord

BRIEF = ("step", "total_steps", "loss", "tokens_per_s", "eta_s", "last_step_age_s", "last_checkpoint")
"""What `status` shows of the progress; the whole of it is one call away."""
OF_THE_PLACE = ("nodes", "cluster", "engine", "claim", "usd_per_hour")
WORST_FIRST = ("fail", "unknown", "warn", "pass")


def status(ref: Ref) -> shell.Result:
    run, place = _the_run(ref)
    status = place.status(run)
    there = status["state"] != ABSENT
    progress = place.progress(run) if there else {}
    if progress.get("state") not in (None, status["state"]):
        status = place.status(run)  # it changed between the two looks: one screen tells one state
    if status["state"] in ENDED and progress.get("step") is None and "report" in run.stages:
        progress = place.kept_progress(run)
    checks = place.health(run, status | {"progress": progress}) if there else [_not_submitted(ref)]
    results = place.results(run)
    data = {
        "name": run.name,
        "run_id": run.run_id,
        "state": status["state"],
        "line": progress.get("line"),
        "health": _worst(checks),
        "reason": status.get("reason"),
        "last_failure": status.get("last_failure"),
        "restarts": status.get("restarts"),
        "max_restarts": status.get("max_restarts"),
        "job_file": run.job_file,
        "run_dir": str(ref.run_dir),
        **results,
        **{key: status[key] for key in OF_THE_PLACE if key in status},
        "progress": {key: progress[key] for key in BRIEF if key in progress},
        "stages": [_stage_row(name, record) for name, record in run.stages.items()],
    }
    # The question is "how is it", and this is the answer, good or bad. So the place's checks are data here:
    # in `checks` one that failed or is unknown would make the answer itself a no.
    data["concerns"] = [
        {"id": check.id, "status": check.status, "summary": check.summary, "fix": check.fix}
        for check in [*checks, *home.copy_check(ref.run_dir, run)]
        if check.status not in ("pass", "skipped")
    ]
    shown = _for_people(data) if shell.wants_table(sys.argv[1:]) else data
    return shell.Result(data=shown, next=_next(ref, status["state"], status.get("reason")))


def _for_people(data: dict[str, Any]) -> dict[str, Any]:
    """On one screen: what there is to say, the state first. Stages and figures, which `line` tells, are in the JSON."""
    restarts = f"{data['restarts']} of {data['max_restarts']}" if data["max_restarts"] is not None else data["restarts"]
    first = {"name": data["name"], "state": data["state"], "line": data["line"], "health": data["health"], "restarts": restarts}
    left_out = ("max_restarts", "progress", "stages")
    rest = {key: value for key, value in data.items() if key not in first and key not in left_out}
    return {key: value for key, value in (first | rest).items() if value not in (None, [], {})}


def logs(ref: Ref, options: dict[str, Any]) -> shell.Result:
    """The log, word for word as its keeper gives it."""
    run, place = _the_run(ref)
    program, arguments = place.logs(run, options)
    if not options["follow"]:
        return _passed_on(deploy_siblings.call(program, arguments))
    for item in deploy_siblings.stream(program, arguments):
        if isinstance(item, deploy_siblings.Answer):
            return _passed_on(item)
        shell.emit(str(item.pop("type")), **item)
    raise AssertionError("a stream ends with its answer")


def stop(ref: Ref, *, now: bool, dry_run: bool) -> shell.Result:
    """Ends the job. Nothing that `resume` needs is deleted, so no --yes is asked for."""
    run, place = _the_run(ref)
    if not place.keeps_record:  # else it knows its own copies
        home.refuse_copy(ref.run_dir, run)
    if place.status(run)["state"] == ABSENT:
        raise shell.SkillError("not-found", f"{run.name} was never submitted", hint=ref.command("run"))
    if not dry_run:
        deploy_stopping.ask(ref.run_dir)
    answer = (
        place.stop(run, now=now, dry_run=True) if dry_run else deploy_stopping.stop_and_record(ref.run_dir, run, place, now=now)
    )
    data = {**answer.data, "name": run.name, "run_id": run.run_id, **place.results(run)}
    if not dry_run and not place.keeps_record:
        data["state"] = place.status(run)["state"]  # the manager's last word is of an object that is gone
    result = shell.Result(data=data, checks=answer.checks, changed=answer.document.get("changed", []), ok=answer.ok)
    result.checks += place.lessons(run)
    again = [f"{ref.command('resume')}   ({place.where_it_begins(run)})"]
    if data.get("state") == "finished":
        result.checks.append(shell.Check("run.state", "pass", f"{run.name} has finished: nothing is left to resume"))
        again = []
    result.next = [*again, ref.command("report")]
    return result


def report(ref: Ref, output: str | None, *, dry_run: bool) -> shell.Result:
    run, place = _the_run(ref)
    target = str(Path(output).absolute()) if output else None
    answer, notes = place.report(run, target, dry_run=dry_run)
    result = _passed_on(answer)
    result.checks += notes
    return result


def compare(refs: list[Ref], output: str | None, *, dry_run: bool) -> shell.Result:
    """By the files in the run folders: of a run on a cluster, what was fetched when it ended."""
    folders = [str(ref.run_dir) for ref in refs if _the_run(ref)]
    target = str(Path(output).absolute()) if output else None
    words = ["compare", *folders, *deploy_siblings.options(output=target, dry_run=dry_run)]
    return _passed_on(deploy_siblings.call(MONITOR, words))


def _the_run(ref: Ref) -> tuple[Run, Place]:
    run = store.load(ref.run_dir)
    if run is None:
        raise shell.SkillError("not-found", f"no run in {ref.run_dir}", hint=f"{ref.command('run')} starts it")
    return run, deploy_place.of(run.target, ref.run_dir)


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


def _stage_row(name: str, record: StageRecord) -> dict[str, Any]:
    seconds = record.ended - record.begun if record.ended is not None else None
    return {"stage": name, "state": "begun" if record.ended is None else "done", "program": record.program, "seconds": seconds}


def _not_submitted(ref: Ref) -> shell.Check:
    return shell.Check("run.state", "unknown", "nothing was submitted yet", fix=ref.command("run"))


def _worst(checks: list[shell.Check]) -> str:
    found = {check.status for check in checks}
    return next((status for status in WORST_FIRST if status in found), "unknown")


def _next(ref: Ref, state: str, reason: str | None) -> list[str]:
    if state == "failed" and is_hopeless(reason):
        return [ref.command("why"), ref.command("logs")]
    verbs = {
        "finished": ["report"],
        "failed": ["why", "logs", "resume"],
        "stopped": ["resume"],
        "gone": ["resume"],
        "lost": ["run"],
        "orphaned": ["run"],
        ABSENT: ["run"],
    }.get(state, ["logs", "stop"])
    return [ref.command(verb) for verb in verbs]
