"""The lines of a log that may matter, found by a search over bytes before anything is decoded; memory does not grow with the log.

A long log is read in three parts. Its beginning (what was started) and its end (what it died of) are searched for all words that rules
know. Between them only a few words are looked for, and nothing at all where the end already holds step lines: what came before
steps was overcome.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from trainyard_files import open_regular

PIECE_BYTES = 256 << 10
HEAD_BYTES, TAIL_BYTES = 128 << 10, 512 << 10
WHOLE_BYTES = 2 << 20
"""A log up to this length is searched for everything."""
LAST_LINES_BYTES = 8 << 10
"""The end is read line by line, whatever it says: a death need not look like an error."""
WINDOW_LINES = 60
"""After a line with one of the words: a traceback and what its message goes on with."""
ANCHORS = re.compile(
    rb"(?i:error|traceback|exception|fail|time(?:d )?out|warn|fatal|killed|signal|sig[ktsbai][a-z]{2,3}\b|abort|cannot|can't|unable|denied|refused|"
    rb"\bxid\b|no such|not found|no space|nan\b|\binf\b|usage:|critical|mismatch|invalid|expired|throttl|out of memory|oom|detected|stack "
    rb"|segmentation|bus err|core dumped|exit(?:ed|code)|rank      |fell off|fallen|nvlink|(?<![0-9a-fx])ecc\b|net/|no route|unreachable|sending process|stopped)"
)
WORDS = tuple(
    b"error,traceback,exception,fail,timeout,timed out,warn,fatal,killed,sig,abort,cannot,can't,unable,denied,refused,xid,no such,"
    b"not found,no space,nan,usage:,critical,mismatch,invalid,expired,throttl,out of memory,oom,detected,stack ,segmentation,bus err,"
    b"core dumped,exit,rank      ,fell off,fallen,nvlink,ecc,net/,no route,unreachable,sending process,stopped".split(b",")
)
"""What ANCHORS fits has one of these in small letters, or is `inf`: to look for each of them in a block is ten times faster (measured)."""
INF = re.compile(rb"inf\b")
NEEDLES = (b"rror", b"WARN")
"""Between beginning and end of a long log: bytes.find takes 1 ns a byte and word, ANCHORS 250 (measured)."""
FEW = 100
NUMBERS = b"0123456789."
MAX_BORING = 20_000
BORING: set[bytes] = set()
"""Shapes of lines that have none of the words, of all logs that this process has read."""
STEPS = {
    word: re.compile(word + rest)
    for words, rest in (((b"step", b"iteration", b"iter", b"epoch"), rb"\S{0,3}[ =:#/]+\s*\d"), ((b"loss",), rb"(?<=[\"']loss)[\"']: ?\d"))
    for word in words
}
"""In small letters: a pattern that begins with its word is found four times faster than one of several (measured)."""
BAR = re.compile(rb"/(?<=\d/)\d+ \[\d")


def pieces_of_interest(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """(offset, line) of lines worth reading, in their order; (offset, None) where lines were passed over."""
    with open_regular(path) as file:
        size = file.seek(0, 2)
        if size <= WHOLE_BYTES:
            yield from _searched(file, 0, size, size, quickly=False)
            return
        tail = _line_start(file, size - TAIL_BYTES)
        yield from _searched(file, 0, HEAD_BYTES, size, quickly=False)
        if not _goes_on(file, tail, size):
            yield from _searched(file, HEAD_BYTES, tail, size, quickly=True)
        yield from _searched(file, tail, size, size, quickly=False)


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


def _searched(file: BinaryIO, start: int, end: int, size: int, *, quickly: bool) -> Iterator[tuple[int, bytes | None]]:
    """Lines of [start, end) within a window that one of the words has opened."""
    last_lines = size - LAST_LINES_BYTES
    left, passed = 0, False
    for offset, buffer in _whole_lines(file, start, end):
        at, hits = 0, Hits(buffer, quickly=quickly)
        while at < len(buffer):
            if left <= 0 and offset + at < last_lines:
                hit = hits.after(at)
                near_end = max(at, last_lines - offset)
                if hit is None and near_end >= len(buffer):
                    passed = True
                    break
                to = buffer.rfind(b"\n", 0, near_end if hit is None else min(hit, near_end)) + 1
                passed, at, left = passed or to > at, max(at, to), WINDOW_LINES
            if passed:
                yield offset + at, None
                passed = False
            newline = buffer.find(b"\n", at)
            stop = len(buffer) if newline < 0 else newline
            line = buffer[at : min(stop, at + (16 << 10))]
            if left < WINDOW_LINES and hits.has(at, line):
                left = WINDOW_LINES
            yield offset + at, line
            left -= 1
            at = stop + 1


class Hits:
    """Where lines with one of the words begin in one piece, looked for once."""

    def __init__(self, buffer: bytes, *, quickly: bool) -> None:
        self._buffer, self._quickly = buffer, quickly
        self._starts = [] if quickly else _starts(buffer)

    def has(self, at: int, line: bytes) -> bool:
        """Whether the line that begins there has one of ANCHORS' words."""
        return _has_anchor(line, WORDS, inf=True) if self._quickly else self.after(at) == at

    def after(self, at: int) -> int | None:
        if self._quickly:
            return min((found for needle in NEEDLES if (found := _find(self._buffer, needle, at)) >= 0), default=None)
        number = bisect.bisect_left(self._starts, at)
        return self._starts[number] if number < len(self._starts) else None


def _find(buffer: bytes, needle: bytes, at: int) -> int:
    """As bytes.find. A first letter that is rare is looked for ten times faster (memchr); where it is not, some tries show it."""
    if needle[:1].isupper():
        for _ in range(FEW):
            at = buffer.find(needle[:1], at)
            if at < 0 or buffer.startswith(needle, at):
                return at
            at += 1
    return buffer.find(needle, at)


def _starts(buffer: bytes) -> list[int]:
    """Lines of a log differ in their numbers mostly: the words are looked for once in each shape, which is 40 times faster (measured)."""
    shapes = buffer.translate(None, NUMBERS).split(b"\n")
    fresh = set(shapes).difference(BORING)
    told = _with_words(fresh)
    if len(BORING) < MAX_BORING:
        BORING.update(shape for shape in fresh - told if len(shape) < 1000)
    if not told:
        return []
    found, at = [], 0
    for line, shape in zip(buffer.split(b"\n"), shapes, strict=True):
        if shape in told:
            found.append(at)
        at += len(line) + 1
    return found


def _with_words(shapes: set[bytes]) -> set[bytes]:
    """Those that ANCHORS fits; words that none of them has are looked for once in all together."""
    block = b"\n".join(shapes).lower()
    words, inf = [word for word in WORDS if word in block], INF.search(block) is not None
    return {shape for shape in shapes if _has_anchor(shape, words, inf=inf)} if words or inf else set()


def _has_anchor(line: bytes, words: Sequence[bytes], *, inf: bool) -> bool:
    small = line.lower()
    for word in words:  # a generator is four times slower here
        if word in small:
            return ANCHORS.search(line) is not None
    return inf and INF.search(small) is not None and ANCHORS.search(line) is not None


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
