"""All errors of a log or of a folder of logs, each kind once: how often, whose, from which line to which, and whether the run went on."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell
from diagnosis.case import Case
from diagnosis.facts import Found
from diagnosis.log_pieces import line_numbers
from diagnosis.one_log import Complaint, LogFacts


def summary_rows(case: Case) -> list[dict[str, Any]]:
    """The most serious first: what ended a process, what rules know, what merely sounds like an error."""
    rows = [row for facts in case.logs for row in _of_log(facts, case)]
    return sorted(
        rows,
        key=lambda row: (
            row["went_on"],
            not row["ended_it"],
            row["role"] != "root",
            row["cause"] is None,
            -row["count"],
            row["file"],
            row["line"] or 0,
        ),
    )


def _of_log(facts: LogFacts, case: Case) -> list[dict[str, Any]]:
    groups: dict[str, list[Found]] = {}
    for each in case.found:
        if each.source is facts.source and each.offset is not None:
            groups.setdefault(each.rule.id, []).append(each)
    offsets = [each.offset or 0 for rows in groups.values() for each in rows]
    offsets += [at for each in facts.complaints.values() for at in (each.first, each.last)]
    numbers = line_numbers(facts.source.path, offsets) if facts.source.path else {}
    known = [_known(facts, rows, numbers) for rows in groups.values()]
    return known + [_unknown(facts, each, numbers) for each in facts.complaints.values()]


def _known(facts: LogFacts, rows: list[Found], numbers: dict[int, int]) -> dict[str, Any]:
    rows = sorted(rows, key=lambda each: each.offset or 0)
    first = rows[0]
    ranks = sorted({each.rank for each in rows if isinstance(each.rank, int)})
    return {
        "cause": first.cause,
        "role": first.rule.role,
        "count": sum(each.count for each in rows),
        "ranks": ranks[:64],
        "file": first.source.name,
        "line": numbers.get(first.offset or 0),
        "last_line": numbers.get(rows[-1].offset or 0),
        "text": shell.clean(first.text, 300),
        "ended_it": any(each.uncaught for each in rows),
        "went_on": all(each.overcome for each in rows),
    }


def _unknown(facts: LogFacts, each: Complaint, numbers: dict[int, int]) -> dict[str, Any]:
    return {
        "cause": None,
        "role": None,
        "count": each.count,
        "ranks": sorted(each.ranks),
        "file": facts.source.name,
        "line": numbers.get(each.first),
        "last_line": numbers.get(each.last),
        "text": shell.clean(each.text, 300),
        "ended_it": False,
        "went_on": facts.steps.after(each.last) >= 2,
    }
