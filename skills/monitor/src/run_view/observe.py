"""One look at a run folder: the tails of its files, its checkpoints and its processes.

Reads at most a fixed number of bytes of each file, so a look costs the same after a thousand steps and after a million.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from run_folder.folder import Checkpoints, last_write, read_checkpoints, read_runner
from run_folder.lines import Tally, decoded, head_lines, tail_lines
from run_folder.records import EVENT, STEP, EventLine, Runner, StepLine
from run_view.state import RunState, from_records, from_runner

if TYPE_CHECKING:
    from pathlib import Path

    from log_reading.job_log import JobLog

STEPS_TAIL_BYTES = 256 << 10
EVENTS_TAIL_BYTES = 4 << 20
HEAD_BYTES = 64 << 10
RECENT_STEPS = 100
STALL_FACTOR = 10.0
STALL_FLOOR_S = 3.0
"""However fast the steps are, a pause as short as this is no stall: an evaluation, a slow disk."""
CLOCK_SLACK_S = 1.0
"""Two records may be this much out of order (different processes write them) before the clock is suspected."""


def stall_limit_s(median_s: float | None, factor: float) -> float:
    """Longest time without a step line that is not yet a stall."""
    return max(STALL_FLOOR_S, factor * (median_s or 0.0))


@dataclass(frozen=True)
class Observation:
    path: Path
    now: float
    runner: Runner | None
    runner_problem: str | None
    state: RunState
    steps: list[StepLine]
    """The last ones; not necessarily all."""
    first: StepLine | None
    events: list[EventLine]
    """The first and the last ones; all of them in any but a very long run."""
    checkpoints: Checkpoints
    tallies: tuple[Tally, Tally]
    records_written: float | None
    """Newest modification time of the run's files."""
    steps_written: float | None
    log: JobLog | None = None
    """The job's log, where the trainer writes no steps.jsonl; `steps` are taken from it then."""

    @property
    def last(self) -> StepLine | None:
        return self.steps[-1] if self.steps else None

    @property
    def recent(self) -> list[StepLine]:
        """The last steps of the incarnation that runs now."""
        last = self.last
        return [line for line in self.steps[-RECENT_STEPS:] if last and line.incarnation == last.incarnation]

    @property
    def median_step_s(self) -> float | None:
        times = [line.step_s for line in self.steps[-RECENT_STEPS:] if line.step_s > 0]
        return statistics.median(times) if times else None

    @property
    def pace_s(self) -> float | None:
        """Usual seconds between two signs of progress: steps, or lines of a log that tells every tenth step."""
        return self.log.pace_s if self.log else self.median_step_s

    @property
    def last_step_age_s(self) -> float | None:
        """Seconds since the last step line; by the file's own time where the line lies in the future, and for a log."""
        if self.last is None:
            return None
        if self.log is not None:
            return max(0.0, self.now - self.log.written) + self.log.behind_s
        age_s = self.now - self.last.time
        if age_s < -CLOCK_SLACK_S and self.steps_written is not None:
            age_s = self.now - self.steps_written
        return max(0.0, age_s)

    @property
    def total_steps(self) -> int | None:
        told = next((event.total_steps for event in reversed(self.events) if event.total_steps), None)
        return told or (self.log.total_steps if self.log else None)

    def last_event(self, *types: str) -> EventLine | None:
        return next((event for event in reversed(self.events) if event.type in types), None)


def observe(path: Path, *, now: float | None = None, stall_factor: float = STALL_FACTOR) -> Observation:
    """Look at the folder. A file that is not there is an empty one."""
    while True:
        view = _look(path, now, stall_factor)
        # The supervisor may have written the end and left between the look at its record and the look for it.
        if view.state.name not in ("lost", "orphaned") or read_runner(path)[0] == view.runner:
            return view


def _look(path: Path, now: float | None, stall_factor: float) -> Observation:
    step_tally, event_tally = Tally("steps.jsonl"), Tally("events.jsonl")
    steps = list(decoded(tail_lines(path / "steps.jsonl", STEPS_TAIL_BYTES, step_tally), STEP, step_tally))
    events = _events(path / "events.jsonl", event_tally)
    runner, problem = read_runner(path)
    log = _job_log(path, runner, events)
    now = time.time() if now is None else now  # after reading: no line read is younger
    view = Observation(
        path=path,
        now=now,
        runner=runner,
        runner_problem=problem,
        state=RunState("unknown", "nothing", problem or ""),
        steps=list(log.steps) if log else steps,
        first=next(decoded(head_lines(path / "steps.jsonl", HEAD_BYTES), STEP, Tally("")), None),
        events=events,
        checkpoints=read_checkpoints(path / "checkpoints"),
        tallies=(step_tally, event_tally),
        records_written=max(
            (time for time in (last_write(path), log.written if log else None) if time is not None), default=None
        ),
        steps_written=_mtime(path / "steps.jsonl"),
        log=log,
    )
    return _with_state(view, stall_factor)


def _with_state(view: Observation, stall_factor: float) -> Observation:
    if view.runner is not None:
        state = from_runner(view.runner, view.path, view.records_written)
    elif view.runner_problem is None:
        limit_s, source = stall_limit_s(view.pace_s, stall_factor), "the job's log" if view.log else "steps.jsonl"
        state = from_records(view.events, view.last_step_age_s, limit_s, source)
    else:
        return view
    return Observation(**{**vars(view), "state": state})


def trains_with_trainyard(path: Path, events: list[EventLine]) -> bool:
    """The trainer keeps the run folder's records itself, so its log is not read for metrics."""
    return (path / "steps.jsonl").exists() or any(event.source == "trainer" for event in events)


def _job_log(path: Path, runner: Runner | None, events: list[EventLine]) -> JobLog | None:
    if trains_with_trainyard(path, events):
        return None
    from log_reading.job_log import look_at_log

    return look_at_log(path, runner, events)


def _events(path: Path, tally: Tally) -> list[EventLine]:
    lines = tail_lines(path, EVENTS_TAIL_BYTES, tally)
    if not tally.complete:  # the beginning says how many steps there will be
        lines = head_lines(path, HEAD_BYTES) + lines
    return list(decoded(lines, EVENT, tally))


def _mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
