"""Lines that may matter because of a word: found over bytes, in blocks, before anything is decoded."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

ANCHORS = re.compile(
    rb"(?i:error|traceback|exception|fail|time(?:d )?out|warn|fatal|killed|signal|sig[ktsbai][a-z]{2,3}\b|abort|cannot|can't|unable|denied|refused|"
    rb"\bxid\b|no such|not found|no space|nan\b|\binf\b|usage:|critical|mismatch|invalid|expired|throttl|out of memory|oom|detected|stack "
    rb"|segmentation|bus err|core dumped|exit(?:ed|code)|rank      |fell off|fallen|nvlink|(?<![0-9a-fx])ecc\b|net/(?![a-z]+/)|no route|unreachable|sending process|stopped)"
)
WORDS = tuple(
    b"error,traceback,exception,fail,timeout,timed out,warn,fatal,killed,sig,abort,cannot,can't,unable,denied,refused,xid,no such,"
    b"not found,no space,nan,usage:,critical,mismatch,invalid,expired,throttl,out of memory,oom,detected,stack ,segmentation,bus err,"
    b"core dumped,exit,rank      ,fell off,fallen,nvlink,ecc,no route,unreachable,sending process,stopped".split(b",")
)
"""What ANCHORS fits has one of these in small letters, or is one of NARROW: to look for each in a block is ten times faster (measured)."""
NARROW = (re.compile(rb"inf\b"), re.compile(rb"net/(?![a-z]+/)"))
"""Words that alone would be in every line of some logs: INFO, `via NET/Libfabric/0`."""
NUMBERS = b"0123456789."
MAX_BORING = 20_000
BORING: set[bytes] = set()
"""Shapes of lines that have none of the words, of all logs that this process has read."""


class Hits:
    """Where lines with one of the words begin in one piece, looked for once."""

    def __init__(self, buffer: bytes) -> None:
        self._starts = _starts(buffer)

    def after(self, at: int) -> int | None:
        """A place in the first such line."""
        number = bisect.bisect_left(self._starts, at)
        return self._starts[number] if number < len(self._starts) else None

    def has(self, at: int, line: bytes) -> bool:
        """Whether the line that begins there is one."""
        return self.after(at) == at


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
        if shape in told and (line == shape or has_anchor(line)):  # an id without its digits may look like a word
            found.append(at)
        at += len(line) + 1
    return found


def _with_words(shapes: set[bytes]) -> set[bytes]:
    """Those that ANCHORS fits; each word is looked for in all of them together."""
    block = b"\n".join(shapes)
    small, found = block.lower(), set[bytes]()
    narrow = ((match.start() for match in pattern.finditer(small)) for pattern in NARROW)
    for looks in (*(_places(small, word) for word in WORDS), *narrow):
        end = -1
        for at in looks:
            if at > end:
                begin, end = block.rfind(b"\n", 0, at) + 1, block.find(b"\n", at)
                end = len(block) if end < 0 else end
                shape = block[begin:end]
                if shape not in found and ANCHORS.search(shape):
                    found.add(shape)
    return found


def _places(small: bytes, word: bytes) -> Iterator[int]:
    """One in a line at most."""
    at = small.find(word)
    while at >= 0:
        yield at
        end = small.find(b"\n", at)
        at = small.find(word, end) if end >= 0 else -1


def has_anchor(line: bytes) -> bool:
    small = line.lower()
    for word in WORDS:  # a generator is four times slower here
        if word in small:
            return ANCHORS.search(line) is not None
    return any(pattern.search(small) for pattern in NARROW) and ANCHORS.search(line) is not None
