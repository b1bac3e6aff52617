"""The goodput account: where the wall time of a run went.

The wall time goes from the run's first sign to its last, or to now while it runs. A cursor walks over it once, life by life, and
every second it passes is booked under one word, so the parts add up to the wall time whatever the records say.

| word | what is booked |
|---|---|
| productive | steps that still count, and what lies between them (evaluation, logging) |
| starting | the first launch, the start of a process until it begins to restore, and from restored to `training` |
| restoring | `seconds` of `restored` |
| saving | `blocked_s` in the steps; from the last step to `closed`, where the script waits for its last checkpoint |
| repeated | steps that a later life undid by going on from an older one, and the unfinished step that an attempt died in |
| stalled | the part of a gap between signs of progress that is longer than the stall limit |
| down | from a death or a `closed` to the next start of a process, back-off and the launcher's own start included |

Assumptions. The stall limit is stall_factor x the median step time of the whole run, at least STALL_FLOOR_S. A life that did not
close died at the `attempt-ended` that follows it before the next life, else (the launcher restarted it inside the attempt) at its last
record. A pause before such a death inside an attempt is booked as down: nothing tells it from one. The seconds between the last step
and the end of the script's work (a last evaluation) count as saving, for nothing tells them apart. Where the clock went backwards,
seconds that were already booked are not booked again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from run_view.observe import STALL_FACTOR, stall_limit_s

if TYPE_CHECKING:
    from goodput.history import History, Life, StepTable
    from run_folder.records import EventLine

KINDS = ("productive", "starting", "saving", "restoring", "repeated", "stalled", "down")
SLOTS = 1200
"""Resolution of the drawn time line: each slot of the wall time gets the word that most of it was booked under."""


@dataclass
class Walk:
    """The cursor. `to` books the time from the cursor to `time`, never beyond `end` and never twice."""

    begin: float
    end: float
    cursor: float = 0.0
    parts: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    slots: dict[str, list[float]] = field(default_factory=lambda: {kind: [0.0] * SLOTS for kind in KINDS})

    def __post_init__(self) -> None:
        self.cursor = self.begin
        self._slots_a_second = SLOTS / (self.end - self.begin) if self.end > self.begin else 0.0

    def to(self, time: float | None, kind: str) -> None:
        if time is None or (time := min(time, self.end)) <= self.cursor:
            return
        self.parts[kind] += time - self.cursor
        self._draw((self.cursor - self.begin) * self._slots_a_second, (time - self.begin) * self._slots_a_second, kind)
        self.cursor = time

    def _draw(self, start: float, stop: float, kind: str) -> None:
        row = self.slots[kind]
        while start < stop and start < SLOTS:
            slot = int(start)
            row[slot] += min(stop, slot + 1) - start
            start = slot + 1

    def segments(self) -> list[tuple[float, float, str]]:
        """(from, to, kind) for drawing; neighbours of one kind are joined."""
        joined: list[tuple[float, float, str]] = []
        for slot in range(SLOTS if self.end > self.begin else 0):
            kind = max((self.slots[name][slot], name) for name in KINDS)[1]
            start = joined.pop()[0] if joined and joined[-1][2] == kind else self.begin + slot / self._slots_a_second
            joined.append((start, self.begin + (slot + 1) / self._slots_a_second, kind))
        return joined


@dataclass(frozen=True)
class Account:
    begin: float
    end: float
    parts: dict[str, float]
    """Seconds by kind; their sum is the wall time."""
    segments: list[tuple[float, float, str]]
    stall_limit_s: float

    @property
    def wall_s(self) -> float:
        return self.end - self.begin

    @property
    def goodput(self) -> float | None:
        return self.parts["productive"] / self.wall_s if self.wall_s > 0 else None


def account(history: History, *, now: float | None = None, stall_factor: float = STALL_FACTOR) -> Account | None:
    """`now` while the run lives, None when it does not. None when the run has no records at all."""
    begin, end = history.begin, history.last_sign
    if begin is None or end is None:
        return None
    limit_s = stall_limit_s(history.steps.median_step_s, stall_factor)
    walk = Walk(begin, max(end, now or end))
    _before_first_life(walk, history, alive=now is not None)
    for index, life in enumerate(history.lives):
        following = history.lives[index + 1] if index + 1 < len(history.lives) else None
        _beginning(walk, life)
        _steps(walk, life, history.steps, limit_s)
        _ending(walk, life, death_of(history, life, following), alive=following is None and now is not None, limit_s=limit_s)
        walk.to(following.began if following else walk.end, "down")
    walk.to(walk.end, "down")
    return Account(begin, walk.end, walk.parts, walk.segments(), limit_s)


def ending_event(history: History, life: Life, following: Life | None) -> EventLine | None:
    """The `attempt-ended` that ended this life; None when the launcher went on."""
    until = following.began if following else float("inf")
    ends = history.of_type("attempt-ended")
    return next((event for event in ends if life.began < event.time <= until), None)


def death_of(history: History, life: Life, following: Life | None) -> float | None:
    """When the attempt around a life ended, else its last record if another life followed; None: it may still live."""
    event = ending_event(history, life, following)
    if event is not None:
        return event.time
    return life.last_sign if following else None


def _before_first_life(walk: Walk, history: History, *, alive: bool) -> None:
    """The launcher's first start; attempts that died before the script took its lock."""
    first = history.lives[0].began if history.lives else walk.end
    ended = next((event.time for event in history.of_type("attempt-ended") if event.time < first), None)
    if ended is not None:
        walk.to(ended, "starting")
        walk.to(first, "down")
    elif history.lives or alive or history.of_type("attempt"):
        walk.to(first, "starting")


def _beginning(walk: Walk, life: Life) -> None:
    walk.to(life.restore_began, "starting")
    walk.to(life.restored, "restoring")
    walk.to(life.training, "starting")


def _steps(walk: Walk, life: Life, steps: StepTable, limit_s: float) -> None:
    first, end = life.rows
    if first < end and life.training is None:
        walk.to(steps.time[first] - steps.step_s[first], "starting")
    seen, kind = walk.cursor, "productive"
    for row in range(first, end):
        time, blocked_s = steps.time[row], steps.blocked_s[row]
        row_kind = "repeated" if steps.undone[row] else "productive"
        if blocked_s or row_kind != kind or time - seen > limit_s:
            walk.to(seen, kind)  # plain steps in a row are booked at once
            kind = row_kind
            _special_step(walk, time, blocked_s, kind, limit_s)
        seen = max(seen, time)
    walk.to(seen, kind)


def _special_step(walk: Walk, time: float, blocked_s: float, kind: str, limit_s: float) -> None:
    """One that held a snapshot, stalled, or is the first of its kind."""
    saving_from = time - min(blocked_s, max(0.0, time - walk.cursor))
    if saving_from - walk.cursor > limit_s:
        walk.to(walk.cursor + limit_s, kind)
        walk.to(saving_from, "stalled")
    walk.to(saving_from, kind)
    walk.to(time, "saving")


def _ending(walk: Walk, life: Life, death: float | None, *, alive: bool, limit_s: float) -> None:
    """From the last step to the end of the life."""
    if life.closed is not None:
        return walk.to(life.closed, "saving" if life.trained else "starting")
    until = death if death is not None else walk.end if alive else life.last_sign
    if not life.trained:
        return walk.to(until, "starting")
    walk.to(min(until, walk.cursor + limit_s), "productive" if death is None else "repeated")
    walk.to(until, "stalled")
