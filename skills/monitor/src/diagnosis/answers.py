"""What the doctor prints: the root cause first, with its proof; then what else was found, each with its part."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell
from diagnosis.case import Case
from diagnosis.choosing import Diagnosis
from diagnosis.facts import Found
from diagnosis.log_pieces import line_numbers

MAX_OTHERS, MAX_QUOTES, MAX_RANKS = 12, 3, 64


def answer(case: Case, found: Diagnosis) -> dict[str, Any]:
    number_lines([found.root, *found.others])
    root = found.root
    same = root.cause if root.rule.id != "run.same-step" else found.others[0].cause
    quotes = [
        root,
        *(each for each in found.others if each.cause == same and each.rule.role == "root" and each.offset is not None),
    ]
    quotes = quotes[:MAX_QUOTES]
    attempts = len(case.history.attempts) if case.history else 1
    return {
        "root": {
            "cause": root.cause,
            "title": _title(root),
            "rank": found.rank,
            "node": found.node,
            "role": "root",
            "restart": found.restart,
            "evidence": [_evidence(each) for each in quotes if each.text],
            "do": root.rule.do,
            "rule": root.rule.id,
        },
        "others": _others([each for each in found.others if each not in quotes], root),
        "attempts": attempts,
        "attempt": case.attempt.number if case.attempt else None,
        "outcome": found.outcome,
        "world_size": case.world,
        "notes": case.problems[:5],
    }


def _title(root: Found) -> str:
    where = root.more.get("script_line")
    return root.rule.title + (f" ({where})" if where else "")


def _others(found: list[Found], root: Found) -> list[dict[str, Any]]:
    """What several ranks say is one row, quoted from the first of them."""
    groups: dict[str, list[Found]] = {}
    for each in found:
        groups.setdefault(each.rule.id, []).append(each)
    return [_other(rows, root) for rows in groups.values()][:MAX_OTHERS]


def _other(rows: list[Found], root: Found) -> dict[str, Any]:
    first, ranks = rows[0], sorted({each.rank for each in rows if isinstance(each.rank, int)})
    nodes = {each.where for each in rows}
    return {
        "cause": first.cause,
        "rule": first.rule.id,
        "role": "confirmation" if first.rule.role == "confirmation" or first.cause == root.cause else "cascade",
        "rank": first.rank if len(rows) == 1 else "several",
        "ranks": ranks[:MAX_RANKS],
        "node": first.where if len(nodes) == 1 else None,
        "count": sum(each.count for each in rows),
        "evidence": [_evidence(first)],
    }


def _evidence(each: Found) -> dict[str, Any]:
    return {"file": shell.clean(each.source.name, 300), "line": each.line, "text": shell.clean(each.text, 400)}


def number_lines(found: list[Found]) -> None:
    by_file: dict[Any, list[Found]] = {}
    for each in found:
        if each.offset is not None and each.source.path is not None and each.line is None:
            by_file.setdefault(each.source.path, []).append(each)
    for path, rows in by_file.items():
        numbers = line_numbers(path, [each.offset for each in rows if each.offset is not None])
        for each in rows:
            each.line = numbers.get(each.offset) if each.offset is not None else None
