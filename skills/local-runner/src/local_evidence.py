"""What is known of one attempt while it runs and when it has ended: its ranks, its trainers' reports, its last words.

Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

from death_cause import Cause, Failure, find_cause
from death_patience import Death, shows_progress, signature
from death_words import last_words, tail, torchrun_names
from local_folder import EventReader, RunFolder
from local_ranks import Ranks


@dataclass
class Evidence:
    """Of one attempt, from its start on."""

    folder: RunFolder
    attempt: int
    ranks: Ranks
    events: EventReader
    begun: float
    """time.monotonic()"""
    steps_bytes: int
    """Size of steps.jsonl when it began."""
    has_runtime: bool = False
    """A trainer of this attempt has reported its start."""
    not_finite_step: int | None = None
    """The first step that a trainer reported as NaN or Inf."""
    inner_restarts: int = 0
    """By a torchrun that the script started itself, as its trainers report them."""

    @classmethod
    def begin(cls, folder: RunFolder, attempt: int, ranks: Ranks, events: EventReader) -> Evidence:
        return cls(folder, attempt, ranks, events, time.monotonic(), _size(folder.path / "steps.jsonl"))

    @property
    def lived_s(self) -> float:
        return time.monotonic() - self.begun

    @property
    def has_stepped(self) -> bool | None:
        """Whether a training step was finished; None where only the script knows."""
        if _size(self.folder.path / "steps.jsonl") > self.steps_bytes:
            return True
        return False if self.has_runtime else None

    def look(self) -> None:
        """Take in what is new."""
        self.ranks.look()
        for event in self.events.new():
            kind, step, count = event.get("type"), event.get("step"), event.get("restart_count")
            if kind == "start" and event.get("attempt") == self.attempt:
                self.has_runtime = True
                # Our own torchrun has no restarts inside: a count there was written by somebody else.
                if type(count) is int and not self.ranks.wanted:
                    self.inner_restarts = max(self.inner_restarts, count)
            if kind in ("nan-loss", "rejected") and self.not_finite_step is None and type(step) is int:
                self.not_finite_step = step

    def death(self, exit_code: int) -> Death:
        """How it ended, once it has, and why."""
        lines = tail(self.folder.log(self.attempt))
        cause = self._cause(exit_code, lines)
        seen = (self.lived_s, self.has_stepped, shows_progress(lines), self.not_finite_step)
        says, step = cause.words.text if cause.words else "", _last_step(self.folder.path / "steps.jsonl")
        return Death(cause.reason, signature(cause), *seen, says=says, last_step=step if self.has_stepped else None)

    def _cause(self, exit_code: int, lines: list[str]) -> Cause:
        rank = self.ranks.first_failure()
        seen = Failure(rank.exit_code, rank.rank, self.ranks.left_before(rank)) if rank and rank.exit_code is not None else None
        told = torchrun_names(lines) if self.ranks.wanted else None
        return find_cause(exit_code, seen, Failure(told[1], told[0]) if told else None, last_words(lines))


def _last_step(path: Path) -> int | None:
    """Of the newest line that tells one."""
    for line in reversed(tail(path)):
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            step = json.loads(line)["step"]
            if type(step) is int:
                return step
    return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
