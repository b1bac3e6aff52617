"""What the parts of the doctor hand to each other: where evidence came from, what was found in it, how processes ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diagnosis.rules import Rule

Rank = int | str | None
"""Of the world; or `all`, `launcher`, `any` (it cannot be told)."""


@dataclass(frozen=True)
class Source:
    """One file of evidence."""

    name: str
    """As it is shown: below the folder that was given."""
    path: Path | None = None
    rank: int | None = None
    """All of it is of this rank."""
    local_rank: int | None = None
    node_rank: int | None = None
    pod: str | None = None
    node: str | None = None
    attempt: int = 0
    container: str | None = None
    beside: bool = False
    """A container beside the training: what it says is not the training's."""


@dataclass
class Found:
    """A rule that fitted something."""

    rule: Rule
    source: Source
    text: str
    rank: Rank = None
    node: str | None = None
    offset: int | None = None
    """Of the line in its file."""
    line: int | None = None
    time: float | None = None
    uncaught: bool = False
    """It ended its process: an exception that nobody caught, the kernel's word, the launcher's."""
    overcome: bool = False
    """The run went on after it."""
    from_launcher: bool = False
    count: int = 1
    more: dict[str, str] = field(default_factory=dict)
    """Named groups of the pattern."""
    pod: str | None = None
    beside: list[tuple[int, str]] = field(default_factory=list)
    """Further lines that belong to it: (offset, text)."""

    @property
    def cause(self) -> str:
        return self.rule.cause

    @property
    def where(self) -> str | None:
        return self.node or self.source.node

    def evidence(self) -> dict[str, Any]:
        return {"file": self.source.name, "line": self.line, "text": self.text[:400]}


@dataclass(frozen=True)
class Death:
    """How a rank ended, as torchrun or a supervisor told it."""

    rank: int | None
    exit_code: int
    """Negative: -signal."""
    source: Source
    offset: int
    text: str
    local_rank: int | None = None
    pid: int | None = None
    host: str | None = None
    time: float | None = None
    first: bool = False
    """torchrun's root cause: the first failure that its node saw."""


@dataclass
class Waited:
    """A rank's word that a collective did not come to its end."""

    rank: int
    source: Source
    offset: int
    text: str
    seq: int | None = None
    op: str | None = None
    numel: str | None = None
    group: str = ""
    completed: int | None = None
    enqueued: int | None = None


@dataclass
class Steps:
    """Step lines of one log."""

    first: int | None = None
    """Offset."""
    last: list[tuple[int, int, float | None]] = field(default_factory=list)
    """(offset, step, time) of the last three."""
    nan: list[tuple[int, int, str]] = field(default_factory=list)
    """(offset, step, text) of the first step without a finite loss since the last finite one."""
    nan_count: int = 0
    finite_after_nan: bool = False

    def after(self, offset: int) -> int:
        """How many different steps are known to follow; at most 3."""
        return len({step for at, step, _ in self.last if at > offset})
