"""What the doctor prints: the root cause first, with its proof; then what else was found, each with its part."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell
from diagnosis.case import Case
from diagnosis.choosing import Diagnosis
from diagnosis.facts import Found
from diagnosis.log_pieces import line_numbers

MAX_OTHERS, MAX_QUOTES = 12, 3


def answer(case: Case, found: Diagnosis) -> dict[str, Any]:
    _number_lines([found.root, *found.others[:MAX_OTHERS]])
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
        "others": [_other(each, root) for each in found.others if each not in quotes][:MAX_OTHERS],
        "attempts": attempts,
        "attempt": case.attempt.number if case.attempt else None,
        "outcome": found.outcome,
        "world_size": case.world,
        "notes": case.problems[:5],
    }


def _title(root: Found) -> str:
    where = root.more.get("script_line")
    return root.rule.title + (f" ({where})" if where else "")


def _other(each: Found, root: Found) -> dict[str, Any]:
    role = "confirmation" if each.rule.role == "confirmation" or each.cause == root.cause else "cascade"
    return {
        "cause": each.cause,
        "rule": each.rule.id,
        "role": role,
        "rank": each.rank,
        "node": each.where,
        "count": each.count,
        "evidence": [_evidence(each)],
    }


def _evidence(each: Found) -> dict[str, Any]:
    return {"file": shell.clean(each.source.name, 300), "line": each.line, "text": shell.clean(each.text, 400)}


def _number_lines(found: list[Found]) -> None:
    by_file: dict[Any, list[Found]] = {}
    for each in found:
        if each.offset is not None and each.source.path is not None and each.line is None:
            by_file.setdefault(each.source.path, []).append(each)
    for path, rows in by_file.items():
        numbers = line_numbers(path, [each.offset for each in rows if each.offset is not None])
        for each in rows:
            each.line = numbers.get(each.offset) if each.offset is not None else None
