"""What a rule says: a finding with its line, the evidence, what to write instead, and the edit that writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trainyard_shell as shell
from asked.wants import Place, Want


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

    def row(self, *, fixable: bool) -> dict[str, Any]:
        return {
            "id": self.id,
            "severity": self.status,
            "where": shell.clean(str(self.place), 300) if self.place else None,
            "what": shell.clean(self.summary, 400),
            "why": shell.clean(self.why or "", 600) or None,
            "instead": shell.clean(self.instead or "", 400) or None,
            "fixable": fixable,
        }


def passed(id: str, summary: str, why: str | None = None) -> Finding:
    return Finding(id, "pass", summary, why=why)


def skipped(id: str, summary: str) -> Finding:
    return Finding(id, "skipped", summary)


def rewritten(each: Want, pin: str, limit: str = "") -> tuple[Edit, ...]:
    """The edit that gives a requirement another pin in the place of its own, or behind its name; `limit` (`<2`) where a file takes it.

    Nothing where the file does not spell it so. A `<` in a RUN would be the shell's, so a Dockerfile gets the pin.
    """
    if each.pin and each.pin in each.text:
        return (Edit(each.place, each.text, each.text.replace(each.pin, pin)),)
    if each.pin or each.marker or each.url or not each.text.lower().startswith(each.asked.lower()):
        return ()
    shell_text = not each.place.file.endswith((".txt", ".toml", ".yml", ".yaml", ".in", ".py"))
    if str(each.allowed):
        return (Edit(each.place, each.text, f"{each.text},{limit}"),) if limit and not shell_text else ()
    return (Edit(each.place, each.text, each.text + (limit if limit and not shell_text else f"=={pin}")),)
