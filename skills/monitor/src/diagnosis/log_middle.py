"""Between beginning and end of a long log: few words are looked for, and what repeats is read a limited number of times.

A log of a gigabyte with a warning in every fortieth line would take hours otherwise, and its root is said first or last.
"""

from __future__ import annotations

from diagnosis.anchor_words import has_anchor

NEEDLES = (b"rror", b"WARN")
"""Between beginning and end of a long log: bytes.find takes 1 ns a byte and word, ANCHORS 250 (measured)."""
FEW = 100
MANY_LINES, MOST_LINES = 2_000, 20_000
"""Lines read of one log's middle: until many, around every hit; then around what was not said before; no more than most."""
VARYING = b"0123456789.abcdefABCDEF"
"""What makes two lines with other numbers and ids different."""


class Middle:
    """Of one log."""

    def __init__(self) -> None:
        self.lines = 0
        self.is_short = False
        """Something was said again and not read."""
        self._said: set[bytes] = set()

    def wants(self, line: bytes) -> bool:
        """Whether to read around this line, which has one of the words."""
        shape = line[:1024].translate(None, VARYING)
        wanted = self.lines < MANY_LINES or (self.lines < MOST_LINES and shape not in self._said)
        if wanted:
            self._said.add(shape)
        self.is_short = self.is_short or not wanted
        return wanted


class MiddleHits:
    """As Hits, of one piece of the middle."""

    def __init__(self, buffer: bytes, middle: Middle) -> None:
        self._buffer, self._middle = buffer, middle
        self._next = dict.fromkeys(NEEDLES, -1)

    def after(self, at: int) -> int | None:
        buffer = self._buffer
        while (hit := self._nearest(at)) is not None:
            end = buffer.find(b"\n", hit)
            end = len(buffer) if end < 0 else end
            if self._middle.wants(buffer[max(at, buffer.rfind(b"\n", at, hit) + 1) : end]):
                return hit
            at = end
        return None

    def has(self, at: int, line: bytes) -> bool:
        self._middle.lines += 1
        return has_anchor(line) and self._middle.wants(line)

    def _nearest(self, at: int) -> int | None:
        """Each word is looked for again only behind where it was found."""
        for needle, found in self._next.items():
            if found < at:
                found = _find(self._buffer, needle, at)
                self._next[needle] = len(self._buffer) if found < 0 else found
        nearest = min(self._next.values())
        return nearest if nearest < len(self._buffer) else None


def _find(buffer: bytes, needle: bytes, at: int) -> int:
    """As bytes.find. A first letter that is rare is looked for ten times faster (memchr); where it is not, some tries show it."""
    if needle[:1].isupper():
        for _ in range(FEW):
            at = buffer.find(needle[:1], at)
            if at < 0 or buffer.startswith(needle, at):
                return at
            at += 1
    return buffer.find(needle, at)
