"""The value in a pickle of plain things: dict, list, tuple, text, bytes, numbers, true, false, none. Nothing is imported, called or made.

Not Python's Unpickler with a `find_class` that raises: its memo takes 64 GB for six bytes (LONG_BINPUT, Python 3.11). Opcodes: pickletools.
"""

from __future__ import annotations

import struct
from typing import Any

MAX_DEPTH, MAX_STEPS, MAX_LONG = 100_000, 20_000_000, 16
MARK = object()
CONSTANTS: dict[int, Any] = {ord("N"): None, 0x88: True, 0x89: False}
EMPTY: dict[int, Any] = {ord("}"): dict, ord("]"): list, ord(")"): tuple}
NUMBERS = {
    ord("J"): struct.Struct("<i"),
    ord("K"): struct.Struct("<B"),
    ord("M"): struct.Struct("<H"),
    ord("G"): struct.Struct(">d"),
}
TEXTS = {ord("X"): struct.Struct("<I"), 0x8C: struct.Struct("<B"), 0x8D: struct.Struct("<Q")}
BYTES = {ord("B"): struct.Struct("<I"), ord("C"): struct.Struct("<B"), 0x8E: struct.Struct("<Q")}
LONGS = {0x8A: struct.Struct("<B"), 0x8B: struct.Struct("<i")}
PUTS = {ord("q"): struct.Struct("<B"), ord("r"): struct.Struct("<I")}
GETS = {ord("h"): struct.Struct("<B"), ord("j"): struct.Struct("<I")}
TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
SKIPPED = {0x80: 1, 0x95: 8}
"""PROTO and FRAME, and what follows them."""


class NotPlain(ValueError):
    """The bytes are not a pickle of plain things."""


def plain(raw: bytes) -> tuple[Any, int]:
    """The value, and where the pickle ends. Raises NotPlain."""
    try:
        return _Reader(raw).value()
    except (IndexError, KeyError, TypeError, ValueError, struct.error, MemoryError, OverflowError) as error:
        raise NotPlain(str(error) or type(error).__name__) from None


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw, self._at = raw, 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def value(self) -> tuple[Any, int]:
        raw, stack, memo = self._raw, self._stack, self._memo
        for _ in range(MAX_STEPS):
            code = raw[self._at]
            self._at += 1
            if code in GETS:  # in the order of how often torch writes them
                stack.append(memo[self._number(GETS[code])])
            elif code in TEXTS:
                stack.append(self._bytes(self._number(TEXTS[code])).decode("utf-8", "replace"))
            elif code in PUTS:
                memo[self._number(PUTS[code])] = stack[-1]
            elif code == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif code in NUMBERS:
                stack.append(self._number(NUMBERS[code]))
            elif code == 0x28:
                stack.append(MARK)
            elif code in EMPTY:
                stack.append(EMPTY[code]())
            elif code in CONSTANTS:
                stack.append(CONSTANTS[code])
            elif code in LONGS:
                stack.append(int.from_bytes(self._bytes(self._number(LONGS[code]), MAX_LONG), "little", signed=True))
            elif code in BYTES:
                stack.append(self._bytes(self._number(BYTES[code])))
            elif code in SKIPPED:
                self._at += SKIPPED[code]
            elif code == ord("."):
                return stack.pop(), self._at
            else:
                self._collect(code)
            if len(stack) > MAX_DEPTH:
                raise NotPlain("it is deeper than any dump")
        raise NotPlain("it is longer than any dump")

    def _collect(self, code: int) -> None:
        """What takes other values from the stack."""
        stack = self._stack
        if code in TUPLES:
            count = TUPLES[code]
            stack[-count:] = [tuple(stack[-count:])]
        elif code == ord("t"):
            stack.append(tuple(self._since_mark()))
        elif code == ord("u"):
            items = self._since_mark()
            _dict(stack[-1]).update(zip(items[::2], items[1::2], strict=True))
        elif code == ord("s"):
            key, value = stack[-2:]
            del stack[-2:]
            _dict(stack[-1])[key] = value
        elif code == ord("e"):
            items = self._since_mark()
            _list(stack[-1]).extend(items)
        elif code == ord("a"):
            item = stack.pop()
            _list(stack[-1]).append(item)
        else:
            raise NotPlain(f"opcode {code:#04x} at byte {self._at - 1} is not one of plain things")

    def _since_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not MARK:
            at -= 1
            if at < 0:
                raise NotPlain("a mark is missing")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _number(self, form: struct.Struct) -> Any:
        (value,) = form.unpack_from(self._raw, self._at)
        self._at += form.size
        return value

    def _bytes(self, count: int, most: int | None = None) -> bytes:
        end = self._at + count
        if not 0 <= count <= (len(self._raw) - self._at if most is None else most) or end > len(self._raw):
            raise NotPlain("it is cut short")
        found = self._raw[self._at : end]
        self._at = end
        return found


def _dict(value: Any) -> dict[Any, Any]:
    if type(value) is not dict:
        raise NotPlain("items for something that is not a dict")
    return value


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise NotPlain("items for something that is not a list")
    return value
