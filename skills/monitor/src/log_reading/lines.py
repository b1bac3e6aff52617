"""The lines of anybody's log: bounded, without colours, and what stands before the message (rank, pod, time).

A log is a stream of bytes that somebody else wrote. It is read once, in pieces, so its size does not matter; a line is what ends with
a newline or with the carriage return of a progress bar, and of a very long one only the beginning is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 32 << 10
"""A step line of VERL with a hundred metrics takes about 6 KB."""
MAX_PREFIX_CHARS = 300
SAMPLE_LINES, SAMPLE_CHARS = 5, 160

ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])")
# torchrun --tee: [rank0]: or [default0]: (the role); torch: [Rank 0]; kubectl logs --prefix: [pod/NAME/CONTAINER].
WRITER = re.compile(r"\[[A-Za-z_]{1,32}[ :=]?(?P<rank>\d{1,6})\]|\[pod/(?P<pod>[^\]\s/]{1,253})/[^\]\s]{1,253}\]")
STAMP = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:[.,](\d{1,9}))?(Z|[+-]\d\d:?\d\d)?",
)

# kubectl logs --timestamps, and the logs of a cluster's pods: a node's time, then what the job printed.
NODES_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) ")
# srun --label and mpirun --tag-output, in front of everything else: ` 3: `, `[1,3]<stdout>:`.
LAUNCHER = re.compile(r"\s{0,6}(?:(?P<task>\d{1,6}): |\[\d{1,9},(?P<rank>\d{1,6})\]<std(?:out|err)>: ?)")
PREFIX_BEGINS = "0123456789 ["


@dataclass
class LineCount:
    """What reading the stream met."""

    lines: int = 0
    bytes: int = 0
    half_line: bool = False
    """The last line has no end yet and was left out."""
    first_stamp: float | None = None
    last: str = ""
    """The last line that was read."""
    samples: tuple[str, ...] = ()
    """A few lines, for somebody who must find out what the log looks like."""


def pieces(file: BinaryIO, count: LineCount, *, growing: bool) -> Iterator[bytes]:
    """Every line that holds anything, at most MAX_LINE_BYTES of it. `growing`: leave out what has no end yet."""
    read = getattr(file, "read1", file.read)  # a pipe must not wait until a whole chunk is there
    rest = b""
    while chunk := read(CHUNK_BYTES):
        count.bytes += len(chunk)
        parts = chunk.replace(b"\r", b"\n").split(b"\n")
        parts[0] = rest + parts[0]
        rest = parts.pop()[:MAX_LINE_BYTES]
        for part in parts:
            if part:
                count.lines += 1
                yield part[:MAX_LINE_BYTES]
    if rest.strip() and growing:
        count.half_line = True
    elif rest.strip():
        count.lines += 1
        yield rest


def text_of(piece: bytes) -> str:
    """The line as text without colours; bytes that are no text become replacement characters."""
    if b"\x1b" in piece:
        piece = ANSI.sub(b"", piece)
    return piece.decode("utf-8", "replace")


def lines_of(file: BinaryIO, count: LineCount, *, growing: bool) -> Iterator[str]:
    """The lines as text; a few that hold letters are kept in `count.samples`."""
    samples: list[str] = []
    text = ""
    for piece in pieces(file, count, growing=growing):
        text = text_of(piece)
        if len(samples) < SAMPLE_LINES and any(letter.isalpha() for letter in text[:SAMPLE_CHARS]):
            samples.append(text[: SAMPLE_CHARS * 2])
            count.samples = tuple(samples)
        if count.first_stamp is None and count.lines < 10_000:
            count.first_stamp = stamp_of(text)
        yield text
    count.last = text


def message_of(text: str) -> str:
    """The line without the time that a node put in front of it, and without the task that a launcher did."""
    if text[:1] not in PREFIX_BEGINS:
        return text
    if text[4:5] == "-":
        found = NODES_STAMP.match(text)
        if not found:
            return text
        text = text[found.end() :]
    found = LAUNCHER.match(text)
    return text[found.end() :] if found else text


def writer_of(text: str) -> str | None:
    """Who wrote the line, where a prefix tells: `rank 3`, `task 3` of srun, `pod NAME`."""
    if found := WRITER.search(text, 0, MAX_PREFIX_CHARS):
        return f"rank {int(found['rank'])}" if found["rank"] else f"pod {found['pod']}"
    if text[:1] not in PREFIX_BEGINS:
        return None
    stamp = NODES_STAMP.match(text)
    launched = LAUNCHER.match(text, stamp.end() if stamp else 0)
    if not launched:
        return None
    return f"task {int(launched['task'])}" if launched["task"] else f"rank {int(launched['rank'])}"


def writer_order(writer: str) -> tuple[object, ...]:
    """Sort key: rank 0 before rank 10, a master before the workers."""
    return ("master" not in writer, [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", writer)])


def stamp_of(text: str) -> float | None:
    """The time in front of the message, in seconds since 1970; a time without a zone is taken as this machine's."""
    found = STAMP.search(text, 0, MAX_PREFIX_CHARS)
    if not found:
        return None
    *parts, fraction, zone = found.groups()
    year, month, day, hour, minute, second = map(int, parts)
    try:
        text = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}" + (zone or "").replace("Z", "+00:00")
        moment = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return moment + (float(f"0.{fraction}") if fraction else 0.0)
