"""`doctor`, `summary` and `ledger` of diagnose_training.py, without their options."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell
from diagnosis.answers import answer
from diagnosis.attempts import Entry, entries_of, verdict_of, with_history
from diagnosis.case import read_case
from diagnosis.choosing import diagnose
from diagnosis.errors_summary import summary_rows
from diagnosis.evidence import open_evidence


def doctor_result(run: str, attempt: int | None) -> shell.Result:
    evidence = open_evidence(run)
    case = read_case(evidence, attempt)
    if attempt is not None and case.attempt is None:
        raise shell.SkillError("not-found", f"{run} has no attempt {attempt}", hint=f"diagnose_training.py ledger {run}")
    found = with_history(evidence, case, diagnose(case))
    return shell.Result(data=answer(case, found), next=_next(run, case.history is not None, found.cause))


def _next(run: str, has_records: bool, cause: str) -> list[str]:
    if cause == "none":
        return [f"monitor_training.py health {run}"] if has_records else []
    return [f"diagnose_training.py ledger {run}"] if has_records else [f"diagnose_training.py summary {run}"]


def summary_result(path: str, limit: int) -> shell.Result:
    case = read_case(open_evidence(path))
    rows = summary_rows(case)
    data: dict[str, Any] = {
        "errors": rows[:limit],
        "total": len(rows),
        "logs": len(case.logs),
        "steps": max((step for facts in case.logs for _, step, _ in facts.steps.last), default=None),
        "outcome": case.outcome,
        "notes": case.problems[:5],
    }
    return shell.Result(data=data, next=[f"diagnose_training.py doctor {path}"], truncated=len(rows) > limit)


def ledger_result(run: str) -> shell.Result:
    evidence = open_evidence(run)
    case = read_case(evidence)
    if case.history is None or not case.history.attempts:
        raise shell.SkillError(
            "not-found",
            f"{run} has no records of attempts (runner.json, events.jsonl)",
            hint=f"diagnose_training.py doctor {run}",
        )
    entries = entries_of(evidence, case)
    verdict = verdict_of(entries)
    data = {
        "name": case.history.name,
        "state": case.history.state,
        "restart": verdict.restart,
        "why": verdict.why,
        "repeats": verdict.repeats,
        "attempts": [_row(each) for each in entries],
        "total": len(case.history.attempts),
        "notes": case.problems[:5],
    }
    return shell.Result(
        data=data, next=[f"diagnose_training.py doctor {run}"], truncated=len(entries) < len(case.history.attempts)
    )


def _row(entry: Entry) -> dict[str, Any]:
    attempt, found = entry.attempt, entry.found
    return {
        "attempt": attempt.number,
        "began": attempt.began,
        "ended": attempt.ended,
        "cause": found.cause,
        "rank": found.rank,
        "restart": found.restart,
        "restored_step": attempt.restored,
        "first_step": attempt.first_step,
        "last_step": attempt.last_step,
        "gained": attempt.gained,
        "text": shell.clean(found.root.text, 200),
    }
