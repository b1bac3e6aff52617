"""A run whose trainer writes no steps.jsonl: what its job log tells one look, as step lines.

A look reads the end of the newest log only, so it costs the same after a day and after a month. What a log does not tell stays
unknown: without times there is no pace but what the file's own times and the attempt's begin give, and no goodput account.
"""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from log_formats.values import bar_of
from log_reading.lines import stamp_of
from log_reading.notes import notes_of, unit_of
from log_reading.reader import LogMetrics, read_log
from log_reading.source import job_logs
from run_folder.folder import log_pattern
from run_folder.records import StepLine, shown
from trainyard_files import Unusable, open_regular

if TYPE_CHECKING:
    from pathlib import Path

    from log_reading.table import LogTable
    from run_folder.records import EventLine, Runner

TAIL_BYTES = 4 << 20
HEAD_BYTES = 64 << 10
COUNTED_BYTES = 256 << 20
KEPT_ROWS = 1000
UNIT_OF_STEPS = "tokens/s"


@dataclass(frozen=True)
class JobLog:
    """The newest job log, as far as one look shows it."""

    file: Path
    format: str | None
    """None: in none of the known formats, as far as was read."""
    lines: int
    written: float
    """When the file was last written to."""
    steps: tuple[StepLine, ...] = ()
    total_steps: int | None = None
    eta_s: float | None = None
    """What is left, as the log says itself."""
    throughput: float | str | None = None
    throughput_unit: str | None = None
    step_source: str = "log"
    pace_s: float | None = None
    """Usual seconds between two lines with metrics; None where nothing tells it."""
    pace_source: str = ""
    mean_step_s: float | None = None
    """Seconds a step since the attempt began, its start included; None where nothing tells it."""
    behind_s: float = 0.0
    """Seconds from the last metric line to the last line of the file, where the log has times."""
    has_times: bool = False
    notes: tuple[str, ...] = ()

    def data(self) -> dict[str, object]:
        """What `status` says of it."""
        return {
            "file": str(self.file),
            "format": self.format,
            "step_source": self.step_source,
            "throughput": self.throughput,
            "throughput_unit": self.throughput_unit,
            "pace_s": self.pace_s,
            "pace_source": self.pace_source or None,
        }


def look_at_log(folder: Path, runner: Runner | None, events: list[EventLine]) -> JobLog | None:
    """The newest log that has metrics, else the newest one; None where there is no log at all."""
    first_look, pattern = None, log_pattern(folder)
    for file in reversed(job_logs(folder, runner)):
        look = _look(file, events, pattern)
        if look is not None and look.format is not None:
            return look
        first_look = first_look or look
    return first_look


def look_at_file(file: Path) -> JobLog | None:
    """A log without a run folder; None where it cannot be read."""
    return _look(file, [], None)


def _look(file: Path, events: list[EventLine], pattern: str | None) -> JobLog | None:
    try:
        with open_regular(file) as stream:
            size, written = os.fstat(stream.fileno()).st_size, os.fstat(stream.fileno()).st_mtime
            head = stream.read(HEAD_BYTES) if size > TAIL_BYTES else b""
            stream.seek(max(0, size - TAIL_BYTES))
            tail = stream.read(TAIL_BYTES)
    except (OSError, Unusable):
        return None
    whole = size <= TAIL_BYTES
    end = tail if whole else tail.replace(b"\r", b"\n").partition(b"\n")[2]
    found = read_log(io.BytesIO(end), pattern=pattern, growing=True, head=head)
    if not whole and found.table.step_source == "order" and size <= COUNTED_BYTES:
        whole, found = True, _read_whole(file, pattern)  # points without steps can only be numbered from the beginning
    look = JobLog(file, found.format, found.count.lines, written)
    return look if found.format is None else _with_metrics(look, found, whole, events)


def _read_whole(file: Path, pattern: str | None) -> LogMetrics:
    with file.open("rb") as stream:
        return read_log(stream, pattern=pattern, growing=True)


def _with_metrics(look: JobLog, found: LogMetrics, whole: bool, events: list[EventLine]) -> JobLog:
    table, notes = found.table, notes_of(found)
    if not whole and table.step_source == "order":
        notes.append("the log is long and names no steps: its points are counted in the last 4 MB only; `metrics` counts all")
    pace_s, pace_source = table.median_gap_s, "times in the log" if table.has_times else "progress bar"
    if pace_s is None:
        pace_s, pace_source = _mean_pace(look, table, whole, events)
    return replace(
        look,
        steps=tuple(_step_lines(found, look.written)),
        total_steps=table.total,
        eta_s=table.eta_s,
        throughput=shown(table.value("throughput", len(table) - 1)) if "throughput" in table.columns else None,
        throughput_unit=unit_of(found),
        step_source=table.step_source,
        pace_s=pace_s,
        pace_source=pace_source,
        mean_step_s=_mean_step(look, table, whole, events),
        behind_s=_behind_s(found),
        has_times=table.has_times,
        notes=tuple(notes),
    )


def _mean_pace(look: JobLog, table: LogTable, whole: bool, events: list[EventLine]) -> tuple[float | None, str]:
    """From the attempt's begin to the last write: too long by the start, so it never calls a healthy run stalled."""
    began = _began(events)
    if began is None or not whole or len(table) < 2 or look.written <= began:
        return None, ""
    return (look.written - began) / len(table), "mean since the attempt began, start included"


def _mean_step(look: JobLog, table: LogTable, whole: bool, events: list[EventLine]) -> float | None:
    """As _mean_pace, of a step: it makes the rest look longer than it is, until the start no longer counts."""
    began = _began(events)
    if began is None or not whole or len(table) < 2 or table.step_source != "log" or table.restarts:
        return None
    steps = table.step[-1] - table.step[0] + 1
    return (look.written - began) / steps if steps > 1 and look.written > began else None


def _began(events: list[EventLine]) -> float | None:
    return next((event.time for event in reversed(events) if event.type == "attempt"), None)


def _behind_s(found: LogMetrics) -> float:
    """How much later than the last metric line the last line of the log was written."""
    table = found.table
    if not table.time:
        return 0.0
    bar = None if table.wall_times else bar_of(found.count.last)
    last = stamp_of(found.count.last) if table.wall_times else bar.elapsed_s if bar else None
    return max(0.0, last - table.time[-1]) if last is not None else 0.0


def _step_lines(found: LogMetrics, written: float) -> list[StepLine]:
    """The last rows as step lines; their time is that of the file where the log tells none."""
    table = found.table
    lines, evals, unit_is_ours = [], dict(zip(table.eval_step, table.eval_loss, strict=True)), unit_of(found) == UNIT_OF_STEPS
    incarnation, backs = 1, {one.row for one in table.restarts}
    for row in range(len(table)):
        incarnation += row in backs
        if row < len(table) - KEPT_ROWS:
            continue
        lines.append(
            StepLine(
                step=table.step[row],
                time=table.time[row] if table.has_times and not math.isnan(table.time[row]) else written,
                loss=shown(table.value("loss", row)),
                incarnation=incarnation,
                step_s=_step_s(table, row),
                tokens_per_s=shown(table.value("throughput", row)) if unit_is_ours else None,
                val_loss=shown(evals.get(table.step[row])),
            )
        )
    return lines


def _step_s(table: LogTable, row: int) -> float:
    """Seconds a step since the line before, else as the line itself says; 0 where neither is told."""
    if not table.time or row == 0 or table.step_source == "order" or table.step[row] <= table.step[row - 1]:
        said = table.step_s[row]
        return 0.0 if math.isnan(said) or table.time else said
    gap = table.time[row] - table.time[row - 1]
    return gap / (table.step[row] - table.step[row - 1]) if gap > 0 else 0.0
