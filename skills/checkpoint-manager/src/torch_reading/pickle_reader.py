"""Read a pickle as data: a small interpreter that imports nothing and calls nothing.

Lists, tuples, numbers and text become themselves; whatever unpickling would import or call becomes a placeholder (Global, Call)
and is recorded. Work is bounded: bytes, operations, depth of the stack. Dictionaries are kept as pairs, because hashing a key
from outside can take for ever (a tuple that shares its parts is exponentially deep).
"""

from __future__ import annotations

import io
import pickletools
from typing import BinaryIO

from torch_reading.pickle_machine import STEPS, Machine
from torch_reading.pickle_values import PickleError, Reading, TooLargeError

MAX_PICKLE_BYTES = 256 << 20
MAX_OPERATIONS = 10_000_000
MAX_STACK = 1_000_000


class _Bounded:
    """A file that hands out at most so many bytes: lengths in a pickle are claims."""

    def __init__(self, file: BinaryIO, limit_bytes: int) -> None:
        self._file, self.used, self._limit = file, 0, limit_bytes

    def _count(self, data: bytes) -> bytes:
        self.used += len(data)
        return data

    def _check(self, count: int) -> None:
        if count > self._limit - self.used:
            raise TooLargeError(f"longer than the {self._limit} bytes that are read at most")

    def read(self, count: int = -1) -> bytes:
        self._check(count)
        return self._count(self._file.read(max(count, 0)))

    def readline(self) -> bytes:
        line = self._count(self._file.readline(min(1 << 20, self._limit - self.used + 1)))
        self._check(0)
        return line

    def tell(self) -> int:
        return self.used


def read_pickle(file: BinaryIO, *, limit_bytes: int = MAX_PICKLE_BYTES) -> Reading:
    """One pickle from where `file` stands, which afterwards stands behind it. Raises PickleError or OSError."""
    machine, source = Machine(), _Bounded(file, limit_bytes)
    try:
        return _run(machine, source)
    except PickleError as error:
        error.suspicions = tuple(machine.found)
        raise


def _run(machine: Machine, source: _Bounded) -> Reading:
    try:
        for count, (opcode, arg, _) in enumerate(pickletools.genops(source)):  # type: ignore[arg-type,unused-ignore]
            if count >= MAX_OPERATIONS or len(machine.stack) > MAX_STACK:
                raise TooLargeError(f"more than {MAX_OPERATIONS} operations or {MAX_STACK} values on the stack")
            if opcode.name == "STOP":
                return Reading(machine.pop(), list(machine.found), source.used, machine.references)
            if opcode.name not in STEPS:
                raise PickleError(f"opcode {opcode.name} has no use in a checkpoint")
            STEPS[opcode.name](machine, arg)
    except IndexError:
        raise PickleError(f"a value is missing on the stack, {source.used} bytes in") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise PickleError(f"torn or no pickle, {source.used} bytes in: {str(error)[:120]}") from None
    raise PickleError("no end mark")


def read_pickle_bytes(data: bytes) -> Reading:
    return read_pickle(io.BytesIO(data))
