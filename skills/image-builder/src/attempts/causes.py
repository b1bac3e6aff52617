"""The log of a failed build -> its class: the first line in the failed step that the table knows as a cause."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import trainyard_shell as shell
from attempts.log_cut import Cut, cut
from image_tables import table

TABLE = "build_failures"
MAX_LINE_CHARS = 2000
WARNING = re.compile(r"\b[A-Z]\w*Warning: ")
"""Python's own: the program went on behind it."""
SOURCE = re.compile(r"[\s|]*raise [A-Za-z]")
SOURCE_OF = re.compile(r"[\s|]*File \"[^\"]{1,500}\", line \d+")
"""A traceback shows the line of source that raised; the message with its values stands below."""
CONTEXT_LINES, LAST_LINES = 3, 15
"""Lines around a cause that is known; of a command that fails for a reason of its own, its last ones."""


@dataclass(frozen=True)
class Row:
    """One pattern of the table."""

    kind: str
    id: str
    pattern: re.Pattern[str]
    remedies: tuple[str, ...]
    weak: bool = False
    follows: tuple[str, ...] = ()
    what: str | None = None
    fix: str | None = None
    """More exact than the class's; `{name}` stands for what the pattern's group of that name took."""
    two_lines: bool = False
    """Whether the message goes on in the next line."""


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
    what: str
    fix: str
    said: Mapping[str, str] = field(default_factory=dict)
    """What the pattern's groups took of the line: a package, a module, a file."""
    places: tuple[str, ...] = ()
    """`Dockerfile:9: RUN pip ...`, `.dockerignore:3: *.json`: what is to be changed stands first."""
    hidden: str = ""
    """What is said where the step that failed had ended well, and a later one stopped the build."""

    @property
    def code(self) -> str | None:
        """The contract's; None for a command that failed."""
        found: str | None = classes()[self.kind]["code"]
        return found

    @property
    def told(self) -> str:
        """One line for people: what happened, where, and the line of the log."""
        return f"{self.what}{f' ({self.places[0]})' if self.places else ''}: {self.line}"

    @property
    def row(self) -> dict[str, Any]:
        """What the answer says of it."""
        return {
            "class": self.kind,
            "cause": self.line,
            "means": self.what,
            "where": list(self.places),
            "fix": self.fix,
            "evidence": list(self.evidence),
            "step": shell.clean(self.cut.step, 300) if self.cut.step else None,
        }


@dataclass(frozen=True)
class Hit:
    index: int
    row: Row
    said: Mapping[str, str]
    line: str = ""
    quoted: bool = False
    """A line of source in a traceback: the cause only where no message says it."""
    warns: bool = False
    """Python's own warning: the cause only where nothing else is."""

    @property
    def subject(self) -> str | None:
        """The package that the line is about."""
        found = self.said.get("subject")
        return found.lower().replace("_", "-").rstrip(".") if found else None


def of(lines: Sequence[str], *, timed_out: bool = False) -> Cause:
    """Always one: `command` where nothing in the log is known."""
    return in_cut(cut(lines), timed_out=timed_out)


def in_cut(found: Cut, *, timed_out: bool = False) -> Cause:
    texts = [line[:MAX_LINE_CHARS] for line in found.lines]
    hit = None if timed_out else _first(hits(texts))
    if hit is None:
        kind = "time-out" if timed_out else "command"  # a time-out whatever it said until then
        hit = Hit(max(len(texts) - 1, 0), Row(kind, kind, re.compile(""), ()), {})
    return _cause(hit, texts or ["" if timed_out else "the builder said nothing"], found)


def hits(texts: Sequence[str]) -> list[Hit]:
    """The first row that takes each line; rows stand in the order of their precision."""
    found = []
    for index, text in enumerate(texts):
        if not text or text.isspace():
            continue
        quoted = bool(SOURCE.match(text)) or (index > 0 and bool(SOURCE_OF.match(texts[index - 1])))
        for row in rows():
            seen = f"{text.rstrip()} {texts[index + 1].strip()}" if row.two_lines and index + 1 < len(texts) else text
            if (match := row.pattern.search(seen)) and match.start() < max(1, len(text.rstrip())):
                said = {name.rstrip("0123456789"): value for name, value in match.groupdict().items() if value}
                found.append(
                    Hit(index, row, said, seen if match.end() > len(text) else text, quoted, bool(WARNING.search(text)))
                )
                break
    return found


def _first(hits: Sequence[Hit]) -> Hit | None:
    """The first strong one, or a weak one before it that it follows from."""
    strong = [hit for hit in hits if not hit.row.weak and not hit.warns]
    return _followed(min(strong, key=lambda hit: (hit.row.kind == "command", hit.quoted), default=None), hits)


def _followed(strong: Hit | None, hits: Sequence[Hit]) -> Hit | None:
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
    told = classes()[hit.row.kind]
    what, fix = (_filled(own or told[name], hit.said) for name, own in (("what", hit.row.what), ("fix", hit.row.fix)))
    line = shell.clean((hit.line or texts[hit.index]).strip(), 400)
    return Cause(hit.row.kind, hit.row.id, line, evidence, found, hit.row.remedies, what, fix, hit.said)


def _filled(text: str, said: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: shell.clean(said.get(match[1], match[0]), 120), text)


def classified(cause: Cause, kind: str, *, fix: str, places: Sequence[str] = (), what: str | None = None) -> Cause:
    """The same failure, understood better: another class, and what to do in words of its own."""
    return replace(cause, kind=kind, what=what or classes()[kind]["what"], fix=shell.clean(fix, 900), places=tuple(places))


def classes() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = table(TABLE)["classes"]
    return found


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
        each.get("what"),
        each.get("fix"),
        bool(each.get("two_lines")),
    )
