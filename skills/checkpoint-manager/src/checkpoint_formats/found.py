"""What was found at a path: the answer that every recogniser gives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import shown
from checkpoint_formats.folder_parts import Part
from torch_reading.pickle_values import Suspicion

MAX_NAMES = 200_000
UNKNOWN = "unknown"
_STEP_IN_NAME = re.compile(r"(?:step[_=-]?|global_step|checkpoint-|iter[_-]?)(\d{1,18})\b")


@dataclass(frozen=True)
class Found:
    """The answer for one path."""

    path: Path
    kind: str
    evidence: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    missing: tuple[str, ...] = ()
    step: int | None = None
    step_from: str | None = None
    named_like: str | None = None
    """For `unknown`: the format that its name or first bytes remind of."""
    problem: str | None = None
    suspicions: tuple[Suspicion, ...] = ()
    """Names in a single file's pickle that are not known to be harmless."""
    inside: tuple[Found, ...] = field(default=(), repr=False)
    """Checkpoints that lie in this folder."""

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes or 0 for part in self.parts) + sum(each.size_bytes for each in self.inside)


def names_in(path: Path) -> set[str]:
    names: set[str] = set()
    for entry in path.iterdir():
        names.add(entry.name)
        if len(names) > MAX_NAMES:
            raise shell.SkillError("usage", f"{shown(str(path))} holds more than {MAX_NAMES} names", hint="give one checkpoint")
    return names


def step_by_name(path: Path) -> dict[str, Any]:
    match = _STEP_IN_NAME.search(path.name)
    return {"step": int(match[1]), "step_from": "the folder's name"} if match else {}
