"""The history of a run from the records that Trainyard's lines in the script keep: steps.jsonl and events.jsonl."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goodput.history import History, Life, StepTable, backwards, mark_undone
from run_folder.lines import Tally, all_lines, decoded
from run_folder.records import EVENT, STEP, EventLine, StepLine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_history(path: Path) -> History:
    """Stream both files once. Files that are not there are empty."""
    step_tally, event_tally = Tally("steps.jsonl"), Tally("events.jsonl")
    events = list(decoded(all_lines(path / "events.jsonl", event_tally), EVENT, event_tally))
    jumps = backwards(event.time for event in events)
    steps = StepTable()
    lives: dict[int, Life] = {}
    _read_steps(decoded(all_lines(path / "steps.jsonl", step_tally), STEP, step_tally), steps, lives)
    jumps += backwards(steps.time)
    for event in events:
        if event.incarnation is not None:
            _note(lives.setdefault(event.incarnation, Life(event.incarnation)), event)
    ordered = [lives[number] for number in sorted(lives)]
    _locate(ordered, events)
    mark_undone(steps, ordered)
    return History(steps, events, ordered, (step_tally, event_tally), jumps)


def _read_steps(lines: Iterator[StepLine], steps: StepTable, lives: dict[int, Life]) -> None:
    newest = 0
    for line in lines:
        # Incarnations only go up; a straggler's line stays with the life it stands in.
        if line.incarnation > newest:
            row = len(steps)
            _end_rows(steps, lives.get(newest), row)
            newest = line.incarnation
            lives[newest] = Life(newest, rows=(row, row), began=line.time - max(0.0, line.step_s))
        elif len(steps) and line.step == steps.step[-1]:  # told again with its evaluation: not done again
            steps.drop_last()
        steps.add(line)
    _end_rows(steps, lives.get(newest), len(steps))


def _end_rows(steps: StepTable, life: Life | None, end: int) -> None:
    if life is not None:
        life.rows = (life.rows[0], end)
        life.last_sign = max(steps.time[life.rows[0] : end])


def _note(life: Life, event: EventLine) -> None:
    """Enter what a trainer's event tells about its life."""
    if event.type == "start":
        life.attempt = event.attempt
        life.began = min(life.began, event.process_started or event.time)
    elif event.type == "restored":
        life.restored, life.restored_step = event.time, event.step
        life.restore_began = event.time - max(0.0, event.seconds or 0.0)
    elif event.type == "training":
        life.training = event.time
    elif event.type == "closed":
        life.closed, life.finished = event.time, event.finished
    life.began = min(life.began, event.time)
    life.last_sign = max(life.last_sign, event.time)


def _locate(lives: list[Life], events: list[EventLine]) -> None:
    """A life whose `start` names no attempt belongs to the last attempt begun before it; one without rows has an empty range."""
    row = 0
    for life in lives:
        life.rows = life.rows if life.rows[1] else (row, row)
        row = life.rows[1]
        if life.attempt is None:
            before = [event.attempt for event in events if event.type == "attempt" and event.time <= life.began]
            life.attempt = before[-1] if before else None
