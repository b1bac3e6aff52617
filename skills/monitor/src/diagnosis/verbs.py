"""`doctor`, `summary` and `ledger` of diagnose_training.py, without their options."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from cluster_run.named import Named
from diagnosis.answers import answer, number_lines
from diagnosis.attempts import Entry, entries_of, verdict_of, with_history
from diagnosis.case_reading import read_case
from diagnosis.choosing import diagnose
from diagnosis.errors_summary import summary_rows
from diagnosis.evidence import Evidence, open_evidence
from diagnosis.live_stacks import add_live_stacks

COLLECTING_S = 120.0


@contextlib.contextmanager
def _evidence(run: Named) -> Iterator[Evidence]:
    """Of a run on a cluster what can be collected within two minutes; it is gone after the block."""
    if not run.is_on_cluster:
        yield open_evidence(run.text or ".")
        return
    from evidence_folder.limits import MIB, Limits
    from evidence_folder.verb import collect_result

    with tempfile.TemporaryDirectory(prefix="trainyard-doctor-") as folder:
        place = Path(folder) / "evidence"
        collect_result(run, str(place), Limits(8 * MIB, 512 * MIB, COLLECTING_S), dry_run=False)
        yield open_evidence(str(place))


def doctor_result(run: Named, attempt: int | None) -> shell.Result:
    with _evidence(run) as evidence:
        case = read_case(evidence, attempt)
        if attempt is not None and case.attempt is None:
            hint = f"diagnose_training.py ledger {run.words}"
            raise shell.SkillError("not-found", f"{run.words} has no attempt {attempt}", hint=hint)
        with tempfile.TemporaryDirectory(prefix="trainyard-stacks-") as folder:
            add_live_stacks(run, case, Path(folder) / "stacks")
            found = with_history(evidence, case, diagnose(case))
            data = answer(case, found)
    return shell.Result(data=data, next=_next(run, case.history is not None, found.cause))


def _next(run: Named, has_records: bool, cause: str) -> list[str]:
    if cause == "none":
        return [f"monitor_training.py health {run.words}"] if has_records else []
    if has_records:
        return [f"diagnose_training.py ledger {run.words}"]
    return [f"diagnose_training.py collect {run.words}" if run.is_on_cluster else f"diagnose_training.py summary {run.words}"]


def summary_result(path: str, limit: int) -> shell.Result:
    case = read_case(open_evidence(path))
    rows = summary_rows(case)
    short = [f"{each.source.name}: repetitions in its middle are not counted" for each in case.logs if each.is_short]
    data: dict[str, Any] = {
        "errors": rows[:limit],
        "total": len(rows),
        "logs": len(case.logs),
        "steps": max((step for facts in case.logs for _, step, _ in facts.steps.last), default=None),
        "outcome": case.outcome,
        "notes": [*case.problems, *short][:5],
    }
    return shell.Result(data=data, next=[f"diagnose_training.py doctor {shlex.quote(path)}"], truncated=len(rows) > limit)


def ledger_result(run: Named) -> shell.Result:
    with _evidence(run) as evidence:
        case = read_case(evidence)
        if case.history is None or not case.history.attempts:
            message = f"{run.words} has no records of attempts (runner.json, events.jsonl)"
            raise shell.SkillError("not-found", message, hint=f"diagnose_training.py doctor {run.words}")
        entries = entries_of(evidence, case)
        number_lines([each.found.root for each in entries])
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
    more = len(entries) < len(case.history.attempts)
    return shell.Result(data=data, next=[f"diagnose_training.py doctor {run.words}"], truncated=more)


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
        "file": shell.clean(found.root.source.name, 300),
        "line": found.root.line,
    }
