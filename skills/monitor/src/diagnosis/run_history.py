"""The attempts of a run as its records tell them: when each began and ended, why, and how many steps it gained."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from run_folder.folder import read_runner
from run_folder.lines import Tally, all_lines, decoded
from run_folder.records import EVENT, STEP, EventLine, words

MAX_ATTEMPTS = 10_000
HELD_EVENTS = ("hang", "stop-requested", "stopping", "nan-loss", "rejected", "disk-full", "save-failed", "paused")


@dataclass
class Attempt:
    number: int
    began: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    reason: str = ""
    first_step: int | None = None
    last_step: int | None = None
    steps: int = 0
    gained: int = 0
    """Steps beyond all attempts before."""
    restored: int | None = None
    events: list[tuple[int, EventLine]] = field(default_factory=list)
    """(line number, event) of those that say something about its end."""
    lines: dict[str, int] = field(default_factory=dict)
    pids: dict[int, int] = field(default_factory=dict)
    """pid -> rank."""


@dataclass
class History:
    folder: Path
    state: str = "unknown"
    reason: str = ""
    last_failure: str = ""
    name: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    world_size: int | None = None
    ended: float | None = None
    last_step_time: float | None = None
    median_step_s: float | None = None
    last_write: float | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def newest(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None


def read_history(folder: Path) -> History:
    history = History(folder)
    runner, problem = read_runner(folder)
    if problem:
        history.problems.append(problem)
    if runner is not None:
        history.state, history.reason, history.name = runner.state, runner.reason or "", runner.name
        history.last_failure, history.ended = runner.last_failure or "", runner.ended
    _events(history)
    if runner is not None and not history.attempts:
        history.attempts.append(Attempt(runner.attempt, runner.started, runner.ended, runner.exit_code, runner.reason or ""))
    _steps(history)
    return history


def _events(history: History) -> None:
    tally = Tally("events.jsonl")
    for number, event in enumerate(decoded(all_lines(history.folder / "events.jsonl", tally), EVENT, tally), 1):
        _event(history, number, event)
        if len(history.attempts) > MAX_ATTEMPTS:
            break
    if note := tally.note():
        history.problems.append(note)


def _event(history: History, number: int, event: EventLine) -> None:
    newest = history.newest
    history.last_write = max(history.last_write or 0.0, event.time)
    if event.type == "attempt":
        history.attempts.append(Attempt(event.attempt if event.attempt is not None else len(history.attempts), event.time))
        return
    if newest is None:
        newest = Attempt(event.attempt or 0, event.time)
        history.attempts.append(newest)
    if event.type == "attempt-ended":
        newest.ended, newest.exit_code, newest.reason = event.time, event.exit_code, words(event.reason or "")
        newest.lines["ended"] = number
    elif event.type == "run-ended":
        history.state = event.state or history.state
        history.reason = history.reason or words(event.reason or "")
        newest.ended = newest.ended or event.time
    elif event.type == "restored":
        newest.restored = event.step
    elif event.type == "start":
        history.world_size = event.world_size if isinstance(event.world_size, int) else history.world_size
    elif event.type in HELD_EVENTS and len(newest.events) < 50:
        newest.events.append((number, event))


def _steps(history: History) -> None:
    """Each step belongs to the newest attempt that had begun by then."""
    tally, at, most, last = Tally("steps.jsonl"), 0, 0, None
    durations: list[float] = []
    for line in decoded(all_lines(history.folder / "steps.jsonl", tally), STEP, tally):
        while at + 1 < len(history.attempts) and (history.attempts[at + 1].began or 0.0) <= line.time:
            at += 1
        if not history.attempts:
            history.attempts.append(Attempt(0, line.time))
        attempt = history.attempts[at]
        attempt.first_step = line.step if attempt.first_step is None else attempt.first_step
        attempt.last_step, attempt.steps = line.step, attempt.steps + 1
        if line.step > most:
            attempt.gained, most = attempt.gained + line.step - most, line.step
        if len(durations) < 1000 and line.step_s > 0:
            durations.append(line.step_s)
        last = line.time
    history.last_step_time = last
    history.median_step_s = sorted(durations)[len(durations) // 2] if durations else None
    history.last_write = max(filter(None, (history.last_write, last)), default=None)
    if note := tally.note():
        history.problems.append(note)


def event_text(event: EventLine) -> str:
    """As the rules of `runner` read it."""
    more: list[Any] = [
        event.reason,
        event.by and f"by {words(event.by)}",
        event.signal and f"signal {words(event.signal)}",
        event.error,
    ]
    step = f" step {event.step}" if event.step is not None else ""
    return f"event {event.type}{step} " + "; ".join(words(each) for each in more if each)
