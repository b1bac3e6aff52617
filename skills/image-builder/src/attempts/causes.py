"""The log of a failed build -> its class: the first line in the failed step that the table knows as a cause."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from attempts.log_cut import Cut, cut
from image_tables import table

TABLE = "build_failures"
MAX_LINE_CHARS = 2000
CONTEXT_LINES, LAST_LINES = 3, 15
"""Lines around a cause that is known; of a command that fails for a reason of its own, its last ones."""


@dataclass(frozen=True)
class Row:
    """One pattern of the table."""

    kind: str
    id: str
    pattern: re.Pattern[str]
    remedies: tuple[str, ...]
    weak: bool
    follows: tuple[str, ...]


@dataclass(frozen=True)
class Cause:
    """Why a build failed."""

    kind: str
    """A class of the table."""
    id: str
    line: str
    """The line that says so."""
    evidence: tuple[str, ...]
    """With the lines around it."""
    cut: Cut
    remedies: tuple[str, ...]

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = table(TABLE)["classes"][self.kind]
        return found


@dataclass(frozen=True)
class Hit:
    index: int
    row: Row
    subject: str | None
    """The package that the line is about."""


def of(lines: Sequence[str], *, timed_out: bool = False) -> Cause:
    """Always one: `command` where nothing in the log is known."""
    found = cut(lines)
    texts = [line[:MAX_LINE_CHARS] for line in found.lines]
    hit = _first(_hits(texts))
    if timed_out:  # whatever it said until then
        last = texts[-1] if texts else ""
        return _cause(
            Hit(max(len(texts) - 1, 0), Row("time-out", "time-out", re.compile(""), (), False, ()), None),
            texts or [last],
            found,
        )
    if hit is None:
        nothing = Row("command", "command", re.compile(""), (), False, ())
        return _cause(Hit(max(len(texts) - 1, 0), nothing, None), texts or ["the builder said nothing"], found)
    return _cause(hit, texts, found)


def _hits(texts: Sequence[str]) -> list[Hit]:
    """The first row that takes each line; rows stand in the order of their precision."""
    found = []
    for index, text in enumerate(texts):
        for row in rows():
            if match := row.pattern.search(text):
                subject = next(
                    (value for name, value in match.groupdict().items() if name.startswith("subject") and value), None
                )
                found.append(Hit(index, row, subject.lower().replace("_", "-").rstrip(".") if subject else None))
                break
    return found


def _first(hits: Sequence[Hit]) -> Hit | None:
    """The first strong one, or a weak one before it that it follows from."""
    strong = next((hit for hit in hits if not hit.row.weak and hit.row.kind != "command"), None)
    strong = strong or next((hit for hit in hits if not hit.row.weak), None)
    if strong is None:
        return hits[0] if hits else None
    for hit in hits:
        about = hit.subject is None or strong.subject is None or hit.subject == strong.subject
        if hit.index < strong.index and hit.row.weak and strong.row.kind in hit.row.follows and about:
            return hit
    return strong


def _cause(hit: Hit, texts: Sequence[str], found: Cut) -> Cause:
    before = LAST_LINES if hit.row.kind == "command" else CONTEXT_LINES
    around = texts[max(0, hit.index - before) : hit.index + CONTEXT_LINES + 1]
    evidence = tuple(shell.clean(line, 300) for line in around if line.strip())
    return Cause(hit.row.kind, hit.row.id, shell.clean(texts[hit.index].strip(), 400), evidence, found, hit.row.remedies)


@functools.cache
def rows() -> tuple[Row, ...]:
    return tuple(_row(each) for each in table(TABLE)["patterns"])


def _row(each: dict[str, Any]) -> Row:
    kind = str(each["class"])
    return Row(
        kind,
        str(each.get("id", kind)),
        re.compile(each["pattern"]),
        tuple(each.get("remedy", ())),
        bool(each.get("weak")),
        tuple(each.get("follows", ())),
    )
