"""When is a run hung? Evidence over time -> verdict. No clock, no /proc, no file: the caller brings what it saw and when.

Used by local-runner's supervisor (a copy, byte for byte) and by the coordinator of trainyard.launch. The limits and what they
were measured on: shared-docs/decisions/0015-hangs.md. Standard library only.

Hard evidence, HARD_S: a rank is stopped while others are not, or a rank is gone and all the others wait. Silence: nothing at all
for SILENCE_S, or for three times the longest pause that this run came out of by itself. Work that can be seen without a step
(below) is no silence: it is given hours, because what does not stop working is rarely hung, and a run that is ended wrongly
never gets past that point. `hang_after_s` given: no step for that long is a hang, whatever else is seen. While no step was read,
no output for that long is one; work that can be seen then counts for at most STARTING_S.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HARD_S = 120.0
SILENCE_S = 600.0
PAUSES = 3
"""Times the longest pause that the run came out of by itself."""
SIGNS_S, BUSY_S = 6 * 3600.0, 24 * 3600.0
"""Without a step: while there are only signs of life (output, new processes), and while work is seen (storage, processors)."""
STARTING_S = 600.0
"""With `hang_after_s` given: for work that can be seen while no step was read yet."""
WORKED = 6
"""Both are at least this many times the limit for silence."""
LONGEST_INTERVAL_S, SHORTEST_INTERVAL_S = 5.0, 0.5
STATES = ("lives", "stopped", "traced", "gone")


def interval_s(hang_after_s: float | None) -> float:
    """Seconds between two looks."""
    return LONGEST_INTERVAL_S if hang_after_s is None else min(LONGEST_INTERVAL_S, max(SHORTEST_INTERVAL_S, hang_after_s / 6))


@dataclass(frozen=True)
class Rank:
    number: int | None
    pid: int | None
    state: str
    """One of STATES."""
    waits: bool = False
    """No work at all since the look before."""
    node: int | None = None
    """None: there is only one."""

    def __str__(self) -> str:
        name = f"rank {self.number}" if self.number is not None else "a rank" if self.pid is None else "the process"
        where = [] if self.node is None else [f"node {self.node}"]
        return f"{name} ({', '.join([*where, *([] if self.pid is None else [f'pid {self.pid}'])])})".replace(" ()", "")


@dataclass(frozen=True)
class Seen:
    """One look at the ranks of all nodes."""

    ranks: tuple[Rank, ...]
    output: object
    """Changes when something was printed."""
    busy: str = ""
    """Work that was seen since the look before, in words."""
    sign: str = ""
    """A sign of life that a rank waiting for another one could give too."""

    @classmethod
    def of(cls, document: Any) -> Seen:
        """From what hang_evidence.py found on one node. Raises ValueError where it has another shape."""
        try:
            ranks = tuple(
                Rank(_whole(number), _whole(pid), _state(state), waits is True)
                for number, pid, state, waits in document["ranks"]
            )
            return cls(ranks, int(document["output"]), str(document["busy"])[:80], str(document["sign"])[:80])
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"no evidence: {error!r}") from error

    @classmethod
    def together(cls, nodes: Mapping[int, Seen]) -> Seen:
        """One look from the looks of several nodes: each alone would take a rank that waits for another node for hung."""
        if len(nodes) == 1:
            return next(iter(nodes.values()))
        ranks = tuple(
            Rank(rank.number, rank.pid, rank.state, rank.waits, node) for node, seen in nodes.items() for rank in seen.ranks
        )
        busy, sign = ("; ".join(filter(None, words)) for words in zip(*((s.busy, s.sign) for s in nodes.values()), strict=True))
        return cls(ranks, tuple(seen.output for seen in nodes.values()), busy, sign)

    def without_life(self) -> Seen:
        """Of a node whose ranks have ended since."""
        known = [Rank(rank.number, rank.pid, "gone") for rank in self.ranks if rank.number is not None]
        return Seen(tuple(known or [Rank(None, None, "gone")]), self.output)

    def missed(self) -> Rank | None:
        """The first rank that does nothing for a reason that can be named."""
        return next((rank for state in ("stopped", "gone") for rank in self.ranks if rank.state == state), None)

    def paused(self) -> str:
        """Why nobody trains although nothing is wrong; "" when that is not so."""
        living = [rank for rank in self.ranks if rank.state != "gone"]
        if traced := [rank for rank in living if rank.state == "traced"]:
            return f"{traced[0]} is being debugged"
        if living and all(rank.state == "stopped" for rank in living):
            return f"{living[0]} is stopped" + (", as all ranks are" if len(living) > 1 else "")
        return ""


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _state(text: Any) -> str:
    if text not in STATES:
        raise ValueError(f"{text!r} is not a state of a rank")
    return str(text)


@dataclass(frozen=True)
class Steps:
    """What is known about steps at a look."""

    marker: object = None
    """Changes with every step; None: no step of this attempt was read."""
    until_s: float = float("inf")
    """Until when it is known: what was printed after that may be a step."""


@dataclass(frozen=True)
class Verdict:
    name: str
    """works, paused or hang."""
    reason: str = ""


class Watch:
    """One attempt after the other of one run; `longest_pause_s` is what the run has taught."""

    def __init__(self, hang_after_s: float | None, longest_pause_s: float = 0.0) -> None:
        self._hang_after_s, self.longest_pause_s = hang_after_s, longest_pause_s
        self._gap_s = 5 * interval_s(hang_after_s) + 2
        """Between two looks: whoever looks was itself stopped, or the machine was suspended."""
        self._looked_at = 0.0
        self.begin(0.0)

    def begin(self, now_s: float) -> None:
        """An attempt begins. All times are of one clock, which goes on while the machine is suspended."""
        self._marker: object = None
        self._output: object = None
        self._stepped, self._first = False, True
        self._begin_anew(now_s)

    def look(self, now_s: float, seen: Seen, steps: Steps) -> Verdict:
        if now_s - self._looked_at > self._gap_s:
            self._begin_anew(now_s)
        self._looked_at = now_s
        self._note(now_s, seen, steps)
        if reason := seen.paused():
            self._begin_anew(now_s)
            return Verdict("paused", reason)
        reason = self._hard(now_s, seen) or self._silent(now_s, steps)
        if reason and (missed := seen.missed()) and str(missed) not in reason:
            reason = f"{missed} is {missed.state}; {reason}"
        return Verdict("hang", reason) if reason else Verdict("works")

    @property
    def silence_s(self) -> float:
        return max(SILENCE_S, PAUSES * self.longest_pause_s)

    def _begin_anew(self, now_s: float) -> None:
        """What was before counts for nothing."""
        self._looked_at = self._progress_at = self._output_at = self._busy_at = self._sign_at = now_s
        self._stopped: dict[tuple[int | None, int | None], float] = {}
        self._deserted_at: float | None = None

    def _note(self, now_s: float, seen: Seen, steps: Steps) -> None:
        if steps.marker is not None and steps.marker != self._marker:
            self._marker, self._stepped = steps.marker, True
            self._progress(min(now_s, max(steps.until_s, self._progress_at)))
        if seen.output != self._output:
            self._output = seen.output
            if not self._first:  # what was there before this attempt is no news
                self._output_at = now_s
                if not self._stepped:
                    self._progress(now_s)
        self._first = False
        if seen.busy:
            self._busy_at = now_s
        if seen.sign:
            self._sign_at = now_s

    def _progress(self, now_s: float) -> None:
        self.longest_pause_s = max(self.longest_pause_s, now_s - self._progress_at)
        self._progress_at = now_s

    def _hard(self, now_s: float, seen: Seen) -> str:
        limit_s = HARD_S if self._hang_after_s is None else min(HARD_S, self._hang_after_s)
        stopped = {(rank.node, rank.pid): rank for rank in seen.ranks if rank.state == "stopped"}
        self._stopped = {key: self._stopped.get(key, now_s) for key in stopped}
        for key, since in self._stopped.items():
            if now_s - since >= limit_s:
                return f"{stopped[key]} has been stopped for {now_s - since:.0f} s{self._and_quiet(now_s)}"
        living = [rank for rank in seen.ranks if rank.state != "gone"]
        gone = [rank for rank in seen.ranks if rank.state == "gone"]
        if not (gone and living and all(rank.waits for rank in living)) or now_s in (self._output_at, self._progress_at):
            self._deserted_at = None
        elif self._deserted_at is None:
            self._deserted_at = now_s
        elif now_s - self._deserted_at >= limit_s:
            return f"{gone[0]} is gone and the others wait{self._and_quiet(now_s)}"
        return ""

    def _silent(self, now_s: float, steps: Steps) -> str:
        known_s = steps.until_s if self._stepped and steps.until_s < self._output_at else now_s
        quiet_s, what = known_s - self._progress_at, "step" if self._stepped else "output"
        worked_at = max(self._progress_at, self._busy_at)
        idle_s = now_s - max(worked_at, self._output_at, self._sign_at)
        if self._hang_after_s is not None:
            # Before the first step a launcher and its ranks import torch, compile, read data: seconds or minutes without a word.
            over = quiet_s >= (self._hang_after_s if self._stepped else max(STARTING_S, self._hang_after_s))
            return f"no {what} for {quiet_s:.0f} s" if over or (not self._stepped and idle_s >= self._hang_after_s) else ""
        if idle_s >= self.silence_s:
            return f"no {what} for {quiet_s:.0f} s, and no sign of work for {self.silence_s:.0f} s"
        if known_s - worked_at >= max(SIGNS_S, WORKED * self.silence_s):
            return f"no {what} for {quiet_s:.0f} s, only output or short processes"
        return f"no {what} for {quiet_s:.0f} s, although it works" if quiet_s >= max(BUSY_S, WORKED * self.silence_s) else ""

    def _and_quiet(self, now_s: float) -> str:
        return f"; no {'step' if self._stepped else 'output'} for {now_s - self._progress_at:.0f} s"
