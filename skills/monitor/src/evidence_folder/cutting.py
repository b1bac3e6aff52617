"""A text of any length within a number of bytes: its head, its tail, and a line between them that says what is missing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainyard_files import open_regular

LINE_BYTES = 64 << 10
"""Of a line: of a longer one its two ends are kept. A traceback's longest line has some hundreds."""
WORD_BYTES = 4096
"""What is cut off may be half a secret, which nobody would know again: so the word at each edge goes too, up to this length."""


@dataclass(frozen=True)
class Cut:
    """What is kept of a text. `missing` bytes stood between `head` and `tail`; at least so many, where `at_least`."""

    head: bytes
    missing: int = 0
    tail: bytes = b""
    at_least: bool = False

    @property
    def marker(self) -> bytes:
        return f"[... {self.missing} bytes left out ...]".encode()


def cut_file(path: Path, limit_bytes: int) -> Cut:
    """Head and tail of a file, however long it is. A file that grows meanwhile ends where it ended. Raises Unusable, OSError."""
    half = limit_bytes // 2
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= limit_bytes:
            return Cut(file.read(limit_bytes))
        head = file.read(half)
        file.seek(size - half)
        return whole_lines(Cut(head, size - 2 * half, file.read(half)))


class Stream:
    """Head and tail of what comes in parts, in bounded memory."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes, self.half = limit_bytes, limit_bytes // 2
        self.seen = 0
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0

    def take(self, part: bytes) -> None:
        self.seen += len(part)
        room = self.half - len(self._head)
        if room > 0:
            self._head += part[:room]
            part = part[room:]
        if part:
            self._tail.append(bytes(part))
            self._tail_bytes += len(part)
        while self._tail and self._tail_bytes - len(self._tail[0]) >= self.half:
            self._tail_bytes -= len(self._tail.popleft())

    def take_all(self, parts: Iterable[bytes]) -> None:
        for part in parts:
            self.take(part)

    def cut(self) -> Cut:
        tail = b"".join(self._tail)[-self.half :]
        if self.seen <= len(self._head) + len(tail):
            return Cut(bytes(self._head) + tail)
        return whole_lines(Cut(bytes(self._head), self.seen - len(self._head) - len(tail), tail))


def whole_lines(cut: Cut) -> Cut:
    """Without the halves of lines, and of words in a line without end, that stand at the edges."""
    head = cut.head[: _last_break(cut.head)]
    tail = cut.tail[_first_break(cut.tail) :]
    missing = cut.missing + len(cut.head) - len(head) + len(cut.tail) - len(tail)
    return Cut(head, missing, tail, cut.at_least)


def _last_break(text: bytes) -> int:
    at = text.rfind(b"\n", max(0, len(text) - LINE_BYTES)) + 1
    return at or max(text.rfind(b" ", max(0, len(text) - WORD_BYTES)) + 1, len(text) - WORD_BYTES, 0)


def _first_break(text: bytes) -> int:
    at = text.find(b"\n", 0, LINE_BYTES) + 1
    return at or text.find(b" ", 0, WORD_BYTES) + 1 or min(len(text), WORD_BYTES)


def short_lines(text: bytes) -> bytes:
    """The text with its long lines cut in their middle."""
    if len(text) <= LINE_BYTES:
        return text
    return b"\n".join(line if len(line) <= LINE_BYTES else _short(line) for line in text.split(b"\n"))


def _short(line: bytes) -> bytes:
    half = LINE_BYTES // 2
    head, tail = line[:half], line[-half:]
    cut = Cut(head[: _last_break(head)], 0, tail[_first_break(tail) :])
    cut = Cut(cut.head, len(line) - len(cut.head) - len(cut.tail), cut.tail)
    return cut.head + cut.marker + cut.tail
