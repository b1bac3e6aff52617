"""The lines of a log that may matter, found by a search over bytes before anything is decoded; memory does not grow with the log.

A long log is read in three parts. Its beginning (what was started) and its end (what it died of) are searched for all words that rules
know. Between them only a few words are looked for, and nothing at all where the end already holds step lines: what came before
steps was overcome.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from diagnosis.anchor_words import Hits
from diagnosis.log_middle import VARYING, Middle, MiddleHits
from trainyard_files import open_regular

PIECE_BYTES = 256 << 10
HEAD_BYTES, TAIL_BYTES = 128 << 10, 512 << 10
WHOLE_BYTES = 2 << 20
"""A log up to this length is searched for everything."""
MAX_SHAPES = 20_000
LAST_LINES_BYTES = 8 << 10
"""The end is read line by line, whatever it says: a death need not look like an error."""
WINDOW_LINES = 60
"""After a line with one of the words: a traceback and what its message goes on with."""
OFTEN = 12
"""Sightings of one shape of line, in one log, that open such a window."""
FEW_LINES = 6
"""After more sightings: the job's own steps after it are still seen."""
ALWAYS = (b"Traceback", b"rror:", b"xception")
"""What follows these is the message, or belongs to it."""
STEPS = {
    word: re.compile(word + rest)
    for words, rest in (
        ((b"step", b"iter", b"epoch"), rb"(?:ation)?\S{0,3}[ =:#/]+\s*\d"),
        ((b"loss",), rb"(?<=[\"']loss)[\"']: ?\d"),
    )
    for word in words
}
"""In small letters: a pattern that begins with its word is found four times faster than one of several (measured)."""
BAR = re.compile(rb"/(?<=\d/)\d+ \[\d")


def pieces_of_interest(path: Path, middle: Middle | None = None) -> Iterator[tuple[int, bytes | None]]:
    """(offset, line) of lines worth reading, in their order; (offset, None) where lines were passed over."""
    middle, windows = middle or Middle(), Windows()
    with open_regular(path) as file:
        size = file.seek(0, 2)
        if size <= WHOLE_BYTES:
            yield from _searched(file, 0, size, size, windows)
            return
        tail = _line_start(file, size - TAIL_BYTES)
        yield from _searched(file, 0, HEAD_BYTES, size, windows)
        if not _goes_on(file, tail, size):
            yield from _searched(file, HEAD_BYTES, tail, size, windows, middle)
        yield from _searched(file, tail, size, size, windows)


class Windows:
    """How many lines are read from a line on that has one of the words. Of one log."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def lines(self, line: bytes) -> int:
        if any(word in line for word in ALWAYS):
            return WINDOW_LINES
        shape = line[:1024].translate(None, VARYING)
        seen = self._seen.get(shape, 0)
        if seen or len(self._seen) < MAX_SHAPES:
            self._seen[shape] = seen + 1
        return WINDOW_LINES if seen < OFTEN else FEW_LINES


def line_numbers(path: Path, offsets: list[int]) -> dict[int, int]:
    """Line number (from 1) of each offset; one pass that stops at the last."""
    found: dict[int, int] = {}
    wanted, at, lines = sorted(set(offsets)), 0, 1
    try:
        with open_regular(path) as file:
            for offset in wanted:
                while at < offset and (piece := file.read(min(PIECE_BYTES, offset - at))):
                    lines += piece.count(b"\n")
                    at += len(piece)
                found[offset] = lines
    except OSError:
        return found
    return found


def _goes_on(file: BinaryIO, start: int, size: int) -> bool:
    """Whether the end of the log holds at least three step lines or progress bars."""
    file.seek(start)
    end = file.read(size - start).lower()
    found = (match for word, step in STEPS.items() if word in end for match in step.finditer(end))
    return sum(1 for _ in itertools.islice(itertools.chain(found, BAR.finditer(end)), 3)) == 3


def _line_start(file: BinaryIO, at: int) -> int:
    file.seek(at)
    found = file.read(64 << 10).find(b"\n")
    return at + found + 1 if found >= 0 else at


def _searched(
    file: BinaryIO, start: int, end: int, size: int, windows: Windows, middle: Middle | None = None
) -> Iterator[tuple[int, bytes | None]]:
    """Lines of [start, end) within a window that one of the words has opened."""
    last_lines = size - LAST_LINES_BYTES
    left, passed = 0, False
    for offset, buffer in _whole_lines(file, start, end):
        at, hits = 0, MiddleHits(buffer, middle) if middle else Hits(buffer)
        while at < len(buffer):
            if left <= 0 and offset + at < last_lines:
                hit = hits.after(at)
                near_end = max(at, last_lines - offset)
                if hit is None and near_end >= len(buffer):
                    passed = True
                    break
                to = buffer.rfind(b"\n", 0, near_end if hit is None else min(hit, near_end)) + 1
                passed, at, left = passed or to > at, max(at, to), WINDOW_LINES if middle else 1
            if passed:
                yield offset + at, None
                passed = False
            newline = buffer.find(b"\n", at)
            stop = len(buffer) if newline < 0 else newline
            line = buffer[at : min(stop, at + (16 << 10))]
            if hits.has(at, line):
                left = max(left, windows.lines(line))
            yield offset + at, line
            left -= 1
            at = stop + 1


def _whole_lines(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Pieces that end with a newline; a line without one is cut, its rest passed over."""
    file.seek(start)
    at, rest, skipping = start, b"", False
    while at < end and (piece := file.read(min(PIECE_BYTES, end - at))):
        begin, at = at - len(rest), at + len(piece)
        if skipping:
            newline = piece.find(b"\n")
            if newline < 0:
                continue
            begin, piece, skipping = begin + newline + 1, piece[newline + 1 :], False
        buffer = rest + piece
        cut = buffer.rfind(b"\n") + 1
        if not cut and len(buffer) >= PIECE_BYTES:
            yield begin, buffer[: 16 << 10] + b"\n"
            rest, skipping = b"", True
            continue
        rest = buffer[cut:]
        if cut:
            yield begin, buffer[:cut]
    if rest:
        yield at - len(rest), rest
