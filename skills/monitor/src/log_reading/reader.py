"""Read a log of unknown format once: find out who wrote it while reading, then keep the figures."""

from __future__ import annotations

import io
import itertools
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from log_formats.known import FORMATS
from log_formats.values import Fields, Point, bar_of
from log_reading.lines import LineCount, lines_of, message_of, stamp_of, writer_of
from log_reading.pattern import Pattern
from log_reading.table import LogTable
from log_reading.writers import OneWriter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from log_formats.base import Format

ENOUGH_VOTES = 8
MAX_UNDECIDED_LINES = 5000
LINES_BEFORE = 64
AHEAD_LINES, AHEAD_CHARS = 2000, 4 << 20
"""Lines that a format sees before it reads the first one: enough for an epoch's end, little enough to be kept."""


@dataclass
class LogMetrics:
    """What a log told."""

    format: str | None
    """None: it is in none of the formats."""
    fields: Fields
    table: LogTable
    count: LineCount
    writers: OneWriter
    votes: dict[str, int] = field(default_factory=dict)
    """Metric lines of each format among the first ones; more than one format is worth a note."""
    left_out: int = 0
    """Lines with a loss under other names than the run's."""


def read_log(
    file: BinaryIO, *, format: str = "auto", pattern: str | None = None, growing: bool = False, head: bytes = b""
) -> LogMetrics:
    """Read to the end. `growing`: somebody still writes, so a last line without an end is left out. `head`: how the log begins of
    which `file` is the end; names and the first epoch's number are those of the whole log."""
    count, table, writers = LineCount(), LogTable(), OneWriter()
    lines = lines_of(file, count, growing=growing)
    votes: Counter[str] = Counter()
    if pattern is not None:
        chosen: Format | None = Pattern(pattern)
    elif format != "auto":
        chosen = FORMATS[format]()
    else:
        chosen, lines = _recognised(lines, votes)
    if chosen is None:
        return LogMetrics(None, Fields(), table, count, writers, votes)
    _read(_seen_ahead(lines, chosen, head), chosen, table, writers)
    name = chosen.name if len(table) or len(table.eval_loss) else None
    return LogMetrics(name, chosen.fields, table, count, writers, votes, chosen.left_out)


def _seen_ahead(lines: Iterator[str], chosen: Format, head: bytes) -> Iterator[str]:
    """The same lines, after the format has seen the first of them."""
    begin = list(lines_of(io.BytesIO(head), LineCount(), growing=True))
    kept: list[str] = []
    chars = 0
    for text in lines:
        kept.append(text)
        chars += len(text)
        if len(kept) >= AHEAD_LINES or chars >= AHEAD_CHARS:
            break
    chosen.settle([message_of(text) for text in (*begin, *kept)])
    return _chain(kept, lines)


def _recognised(lines: Iterator[str], votes: Counter[str]) -> tuple[Format | None, Iterator[str]]:
    """The format that most of the first metric lines have, and the lines from the first metric line on."""
    formats = [make() for make in FORMATS.values()]
    kept: list[str] = []
    before: deque[str] = deque(maxlen=LINES_BEFORE)
    for text in lines:
        message = message_of(text)
        found = next((one.name for one in formats if one.parse(message) is not None), None)
        for one in formats:  # a vote is for the format, not yet for its names
            one.fields.of.clear()
        if found is not None:
            votes[found] += 1
        before.append(text)
        # Lightning's table is recognised by its second line, a block by its figures: what stands above must be read again.
        if kept or found is not None or _may_be_header(message):
            kept.extend(before)
            before.clear()
        if votes.total() >= ENOUGH_VOTES or len(kept) >= MAX_UNDECIDED_LINES:
            if votes:
                break
            del kept[:-1]
    if not votes:
        return None, iter(())
    best = max(FORMATS, key=lambda name: votes[name])  # of equals the first: the one that is told more strictly
    return FORMATS[best](), _chain(kept, lines)


def _may_be_header(text: str) -> bool:
    return ("," in text or "\t" in text) and ("step" in text or "epoch" in text or "iter" in text)


def _chain(kept: list[str], lines: Iterable[str]) -> Iterator[str]:
    """Once the kept ones are through, a line passes no Python code here: it may be one of 20 million."""
    return itertools.chain(_drained(kept), lines)


def _drained(kept: list[str]) -> Iterator[str]:
    yield from kept
    kept.clear()


def _read(lines: Iterator[str], chosen: Format, table: LogTable, writers: OneWriter) -> None:
    for point, writer in _points(lines, chosen):
        for one in writers.put(point, writer):
            table.add(one)
    for one in writers.rest():
        table.add(one)
    table.finish()


def _points(lines: Iterator[str], chosen: Format) -> Iterator[tuple[Point, str | None]]:
    """Each metric line with its writer; held back until the next one, for a progress bar behind it may tell its step."""
    held, own_words = None, isinstance(chosen, Pattern)
    for text in lines:
        point = chosen.parse(text if own_words else message_of(text))
        if point is not None:
            if held is not None:
                yield held
            point.time = stamp_of(text) if point.time is None else point.time
            held = point, writer_of(text)
        elif chosen.bar_follows and held is not None and held[0].bar is None and "%|" in text:
            held[0].bar = bar_of(text)
    if held is not None:
        yield held
