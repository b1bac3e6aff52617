"""A finding: what keeps pods from running, in one sentence, and what to do. Tables of patterns turn messages into findings.

`make kit` copies this file; edit it in skills/kit/ only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import trainyard_shell as shell
from trainyard_kube import Object

Row = tuple[str, str, str]
"""(id, pattern of the message, what to do). Of a table the first row that fits is told."""


@dataclass(frozen=True)
class Finding:
    id: str
    summary: str
    fix: str


def row_of(rows: list[Row], text: str) -> Row:
    """The first that fits; the table's last row fits anything."""
    return next(row for row in rows if re.search(row[1], text))


def words_of(part: Object) -> str:
    """`reason: message` of a pod, a condition or a container's state, as data."""
    return shell.clean(": ".join(str(text) for text in (part.get("reason"), part.get("message")) if text), 300)


def age_s(time: str) -> float:
    """Seconds since a time as Kubernetes writes it."""
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()


def how_long(seconds: float) -> str:
    """`2 minutes`, in steps: who watches is told the same words at most looks."""
    minutes = max((step for step in (1, 2, 3, 5, 10, 20, 30, 60, 120, 360, 720, 1440) if step * 60 <= seconds), default=0)
    if minutes < 120:
        return f"{minutes} minute{'' if minutes == 1 else 's'}" if minutes else f"{seconds:.0f} s"
    return f"{minutes // 60} hours"


def told_once(kind: str, found: Iterable[tuple[str, Finding]]) -> list[Finding]:
    """Of (name of an object, finding): each id once, with the number of objects and the first of them."""
    named: dict[str, dict[str, Finding]] = {}
    for name, finding in found:
        named.setdefault(finding.id, {}).setdefault(name, finding)
    return [_merged(kind, names) for names in named.values()]


def _merged(kind: str, names: dict[str, Finding]) -> Finding:
    name, finding = next(iter(names.items()))
    where = f"{kind} {name}" if len(names) == 1 else f"{len(names)} {kind}s, the first is {name}"
    return replace(finding, summary=f"{finding.summary} ({where})")


def findings_of(rows: list[Row], text: str) -> Iterator[Finding]:
    """The first row that fits, or nothing."""
    if row := next((row for row in rows if re.search(row[1], text)), None):
        yield Finding(row[0], shell.clean(text, 300), row[2])
