"""What has to be said with the figures of a log: the unit of its throughput, and how far they are to be believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainyard_shell import clean

if TYPE_CHECKING:
    from log_reading.reader import LogMetrics

MAX_NAME_CHARS = 120
"""Of a name that the log gives."""


def unit_of(found: LogMetrics) -> str | None:
    """As the log names it; nothing is converted."""
    unit = found.fields.units.get("throughput")
    return clean(unit, MAX_NAME_CHARS) if unit and ("throughput" in found.table.columns or found.table.end) else None


def notes_of(found: LogMetrics) -> list[str]:
    """What a reader should know before believing the figures."""
    table, writers, notes = found.table, found.writers, []
    if table.step_source == "order":
        notes.append("the log names no steps: the points are numbered in the order of logging")
    elif table.step_source == "progress bar":
        notes.append("the log names no steps: taken from the progress bar drawn behind each line")
    elif (name := found.fields.of.get("step", "")) == "epoch" or "bar" in name:
        notes.append(f"step is the {name}" if name != "epoch" else "the log names no steps: `step` is the epoch")
    if writers.ignored_lines:
        who = writers.chosen or "the lines without a prefix"
        notes.append(f"several processes write here: figures of {who}, {writers.ignored_lines} lines of others left out")
    if table.repeats:
        notes.append(f"{table.repeats} lines tell the step before them again (other ranks?): left out")
    if found.left_out:
        words = f"step {clean(found.fields.of.get('step', ''), MAX_NAME_CHARS)!r}, loss {clean(found.fields.of.get('loss', ''), MAX_NAME_CHARS)!r}"
        notes.append(f"{found.left_out} lines with a loss have no step or other names than most lines ({words}): left out")
    others = [f"{count} of {name}" for name, count in found.votes.items() if name != found.format]
    if others:
        notes.append(f"there are metric lines in other formats too ({', '.join(others)} at the beginning): see --log-format")
    if found.count.half_line:
        notes.append("the last line has no end yet and was left out")
    return notes
