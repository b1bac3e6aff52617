"""What a rule says: a finding with its line, the evidence, what to write instead, and the edit that writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trainyard_shell as shell
from image_wants import Place


@dataclass(frozen=True)
class Edit:
    """In one line of one file, this text becomes that."""

    place: Place
    old: str
    new: str


@dataclass(frozen=True)
class Finding:
    """One answer of one rule. `status` as a check's; `why` has the evidence."""

    id: str
    status: str
    summary: str
    place: Place | None = None
    why: str | None = None
    instead: str | None = None
    edits: tuple[Edit, ...] = field(default=())

    def check(self) -> shell.Check:
        where = f"{self.place}: " if self.place else ""
        return shell.Check(
            self.id,
            self.status,
            shell.clean(where + self.summary, 400),
            shell.clean(self.why, 600) if self.why else None,
            shell.clean(self.instead, 400) if self.instead else None,
        )

    def row(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "severity": self.status,
            "where": shell.clean(str(self.place), 300) if self.place else None,
            "what": shell.clean(self.summary, 400),
            "why": shell.clean(self.why or "", 600) or None,
            "instead": shell.clean(self.instead or "", 400) or None,
            "fixable": bool(self.edits),
        }


def passed(id: str, summary: str, why: str | None = None) -> Finding:
    return Finding(id, "pass", summary, why=why)


def skipped(id: str, summary: str) -> Finding:
    return Finding(id, "skipped", summary)
