"""The history of a run from the logs of its attempts, where the trainer keeps no records of its own.

The lives are the attempts, and within an attempt the places where the step goes back. Saves and restores are not told by a log, so
their time counts as productive, starting or stalled; what follows the last line of an attempt that ended well is `saving`, as it is in
other runs. A log without times has no place in the wall time: no account is made of it.
"""

from __future__ import annotations

import itertools
import math
import statistics
from array import array
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from goodput.history import History, Life, LogTold, StepTable, backwards, mark_undone
from log_reading.notes import notes_of, unit_of
from log_reading.reader import read_log
from log_reading.source import attempt_of
from run_folder.lines import Tally
from trainyard_files import Unusable, open_regular

if TYPE_CHECKING:
    from pathlib import Path

    from log_reading.reader import LogMetrics
    from run_folder.records import Runner

TIME_SLACK_S = 120.0
"""A log's times may lie this far outside the run before they are taken for another time zone's."""


def history_of_logs(logs: list[Path], base: History, runner: Runner | None, now: float, pattern: str | None = None) -> History:
    """`base` holds the supervisor's events, and is given back with the steps and lives that the logs tell."""
    read = [(attempt_of(log), _read(log, pattern)) for log in logs]
    told = [found for _, found in read if found.format is not None]
    steps = StepTable()
    lives: list[Life] = []
    for attempt, found in read:
        _add(steps, lives, found, attempt if base.events else None)
    problem = _time_problem(steps, told, runner, now)
    if problem:
        steps.time, lives = _without_times(steps, lives)
    else:
        _place(steps, lives, base)
    mark_undone(steps, lives)
    units = {unit for found in told if (unit := unit_of(found))}
    notes = tuple(dict.fromkeys(note for found in told for note in notes_of(found)))
    about = LogTold(
        ", ".join(dict.fromkeys(str(found.format) for found in told)) or None,
        ", ".join(sorted(units)) or "no unit told",
        problem is None,
        (*notes, *([problem] if problem else [])),
    )
    jumps = 0 if problem else backwards(steps.time)
    total = next((found.table.total for found in reversed(told) if found.table.total), None)
    tally = Tally(logs[-1].name, sum(found.count.lines for _, found in read))
    return replace(
        base, steps=steps, lives=lives, tallies=(tally, base.tallies[1]), clock_jumps=jumps, log=about, log_total_steps=total
    )


def _read(log: Path, pattern: str | None) -> LogMetrics:
    try:
        with open_regular(log) as file:
            return read_log(file, pattern=pattern, growing=True)
    except Unusable as error:
        raise shell.SkillError("usage", str(error), hint=f"ls -l {log}") from error
    except OSError as error:
        raise shell.SkillError("permission", f"{log} cannot be read: {error.strerror}", hint=f"ls -l {log}") from error


def _add(steps: StepTable, lives: list[Life], found: LogMetrics, attempt: int | None) -> None:
    """Append a log's rows; its first life begins with the log's first time."""
    table, start = found.table, len(steps)
    if not len(table):
        return
    bounds = [0, *(one.row for one in table.restarts), len(table)]
    for first, end in itertools.pairwise(bounds):
        life = Life(len(lives) + 1, rows=(start + first, start + end), attempt=attempt)
        life.began = found.count.first_stamp if first == 0 and found.count.first_stamp is not None else math.inf
        lives.append(life)
    evals = dict(zip(table.eval_step, table.eval_loss, strict=True))
    for row in range(len(table)):
        steps.step.append(table.step[row])
        steps.time.append(table.time[row] if table.has_times else math.nan)
        steps.step_s.append(0.0)
        steps.blocked_s.append(0.0)
        for name, column in (("loss", steps.loss), ("throughput", steps.tokens_per_s)):
            value = table.value(name, row)
            column.append(math.nan if value is None else value)
        if table.step[row] in evals:
            steps.val_loss.append((len(steps) - 1, evals[table.step[row]]))


def _time_problem(steps: StepTable, told: list[LogMetrics], runner: Runner | None, now: float) -> str | None:
    """Why the times cannot be used; None when they can."""
    if not len(steps):
        return "no step can be read in the log: no goodput account"
    if not all(found.table.has_times for found in told if len(found.table)):
        return "the log has no times: no goodput account, no times of steps"
    known = [value for value in steps.time if not math.isnan(value)]
    if runner is not None and runner.started is not None:
        until = runner.ended or now
        if min(known) < runner.started - TIME_SLACK_S or max(known) > until + TIME_SLACK_S:
            return "the log's times do not lie within the run (another time zone?): no goodput account"
    return None


def _without_times(steps: StepTable, lives: list[Life]) -> tuple[Any, list[Life]]:
    for life in lives:
        life.began = life.last_sign = 0.0
    return array("d", bytes(8 * len(steps))), lives


def _place(steps: StepTable, lives: list[Life], base: History) -> None:
    """Give rows without a time that of the row before, lives their begin and end, and rows the time since the one before."""
    before = next(value for value in steps.time if not math.isnan(value))
    for row, value in enumerate(steps.time):
        before = steps.time[row] = before if math.isnan(value) else value
    begun = {event.attempt: event.time for event in base.of_type("attempt")}
    for index, life in enumerate(lives):
        former = lives[index - 1] if index else None
        usual_s = _rows(steps, life, first_of_run=former is None)
        first, end = life.rows
        began = begun.get(life.attempt) if former is None or former.attempt != life.attempt else None
        if began is None and math.isinf(life.began):  # nothing tells when the script was started again
            began = max(steps.time[first] - usual_s, former.last_sign if former else -math.inf)
        life.began = min(life.began if began is None else began, steps.time[first])
        steps.step_s[first] = min(usual_s, steps.time[first] - life.began)
        life.last_sign = max(steps.time[first:end])
        _close(life, lives[index + 1] if index + 1 < len(lives) else None, base)


def _rows(steps: StepTable, life: Life, *, first_of_run: bool) -> float:
    """Fill in the seconds between a life's lines; returns what its first line probably took, of which nothing says when it began."""
    first, end = life.rows
    for row in range(first + 1, end):
        steps.step_s[row] = max(0.0, steps.time[row] - steps.time[row - 1])
    gaps = [steps.step_s[row] for row in range(first + 1, end) if steps.step_s[row] > 0]
    distances = [steps.step[row] - steps.step[row - 1] for row in range(first + 1, end)]
    usual_s = statistics.median(gaps) if gaps else 0.0
    if first_of_run and distances and (usual_steps := statistics.median(distances)) > 0:
        return usual_s * min(1.0, steps.step[first] / usual_steps)  # a log of every tenth step also tells the very first
    return usual_s


def _close(life: Life, following: Life | None, base: History) -> None:
    """An attempt that ended well, or because somebody asked it to, was not killed."""
    ended = next((event for event in base.of_type("attempt-ended") if event.attempt == life.attempt), None)
    if ended is None or (following is not None and following.attempt == life.attempt):
        return
    asked = any(life.began < event.time <= ended.time for event in base.of_type("stop-requested"))
    if ended.exit_code == 0 or asked:
        life.closed, life.finished = max(ended.time, life.last_sign), ended.exit_code == 0
