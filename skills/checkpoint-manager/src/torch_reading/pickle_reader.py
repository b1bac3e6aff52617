"""Read a pickle as data: decode its opcodes (told in pickletools) for the machine. Work is bounded: bytes, operations, depth of the stack."""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from torch_reading.pickle_machine import STEPS, Machine
from torch_reading.pickle_values import PickleError, Reading, TooLargeError

MAX_PICKLE_BYTES = 256 << 20
MAX_OPERATIONS = 8_000_000
OPERATIONS_WHEN_TOO_DEEP = 200_000
"""What is beyond a bound is not built any more; a little further its names are still looked for."""
MAX_STACK = 1_000_000
BLOCK_BYTES = 1 << 16

_Step = Callable[[Machine, Any], object]


class _Source:
    """A file that is read in blocks and hands out at most so many bytes: lengths in a pickle are claims."""

    def __init__(self, file: BinaryIO, limit_bytes: int) -> None:
        self._file, self._limit = file, limit_bytes
        self.block, self.at, self._before = b"", 0, 0

    @property
    def used(self) -> int:
        return self._before + self.at

    def fill(self, count: int) -> None:
        """Have the next `count` bytes in the block, fewer only at the end of the file."""
        if self.used + count > self._limit:
            raise TooLargeError(f"longer than the {self._limit} bytes that are read at most")
        left = self.block[self.at :]
        self._before += self.at
        self.block, self.at = left + self._file.read(max(count - len(left), BLOCK_BYTES)), 0

    def read(self, count: int) -> bytes:
        if self.at + count > len(self.block):
            self.fill(count)
        data = self.block[self.at : self.at + count]
        self.at += len(data)
        return data

    def readline(self) -> bytes:
        end = self.block.find(b"\n", self.at)
        if end < 0:
            self.fill(min(1 << 20, self._limit - self.used))
            end = self.block.find(b"\n", self.at)
        data = self.block[self.at : end + 1 if end >= 0 else min(len(self.block), self.at + (1 << 20))]
        self.at += len(data)
        return data


class _Operation:
    """How an opcode is decoded: `size` bytes of an unsigned number, or what pickletools reads."""

    def __init__(self, opcode: pickletools.OpcodeInfo) -> None:
        self.name, kind = opcode.name, opcode.arg.name if opcode.arg else ""
        self.size = {"": 0, "uint1": 1, "uint2": 2, "uint4": 4, "uint8": 8}.get(kind, -1)
        self.reader = opcode.arg.reader if opcode.arg else None
        self.step: _Step | None = STEPS.get(opcode.name)
        self.ends = opcode.name == "STOP"


_BY_CODE: list[_Operation | None] = [None] * 256
for _opcode in pickletools.opcodes:
    _BY_CODE[ord(_opcode.code)] = _Operation(_opcode)


def read_pickle(file: BinaryIO, *, limit_bytes: int = MAX_PICKLE_BYTES) -> Reading:
    """One pickle from where `file` stands, which afterwards stands behind it. Raises PickleError or OSError."""
    begin = file.tell()
    reading = _read(file, limit_bytes)
    file.seek(begin + reading.size_bytes)
    return reading


def _read(file: BinaryIO, limit_bytes: int, inside: bool = False) -> Reading:
    machine, source = Machine(), _Source(file, limit_bytes)
    try:
        reading = _run(machine, source)
    except PickleError as error:
        error.suspicions = tuple(machine.suspicions.found)
        raise
    for blob in () if inside else machine.blobs:
        _judge_nested(machine, blob)
    return Reading(reading, list(machine.suspicions.found), source.used, machine.references)


def _judge_nested(machine: Machine, blob: bytes) -> None:
    """Bytes that are a whole pickle, or name code before they break off: anything else is data that looks like one."""
    try:
        nested = _read(io.BytesIO(blob), len(blob), inside=True)
        found = nested.suspicions if nested.size_bytes == len(blob) else []
    except PickleError as error:
        found = [each for each in error.suspicions if each.runs_code]
    for each in found:
        machine.suspicions.add(each.name, each.why)


def _run(machine: Machine, source: _Source) -> Any:
    try:
        return _steps(machine, source)
    except IndexError:
        raise PickleError(f"a value is missing on the stack, {source.used} bytes in") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise PickleError(f"torn or no pickle, {source.used} bytes in: {str(error)[:120]}") from None


def _steps(machine: Machine, source: _Source) -> Any:
    """The value that stands on the stack at the end mark. The loop of this module: half a microsecond an opcode."""
    stack, limit, count = machine.stack, MAX_OPERATIONS, 0
    while True:
        if source.at >= len(source.block):
            source.fill(1)
            if not source.block:
                raise PickleError("no end mark")
        operation = _BY_CODE[source.block[source.at]]
        source.at += 1
        count += 1
        if operation is None or (operation.step is None and not operation.ends):
            raise PickleError(f"no opcode of a checkpoint, {source.used} bytes in")
        if operation.step is None:
            value = machine.pop()
            if machine.is_too_deep:
                raise TooLargeError("tuples nested too deep: nothing is known about the rest")
            return value
        operation.step(machine, _argument(operation, source) if operation.size else None)
        if count >= limit or len(stack) > MAX_STACK:
            raise TooLargeError(f"more than {MAX_OPERATIONS} operations, {MAX_STACK} values on the stack, or nested too deep")
        if machine.is_too_deep and limit == MAX_OPERATIONS:
            limit = min(limit, count + OPERATIONS_WHEN_TOO_DEEP)


def _argument(operation: _Operation, source: _Source) -> Any:
    if operation.size < 0:
        assert operation.reader is not None
        return operation.reader(source)  # type: ignore[arg-type,unused-ignore]
    data = source.read(operation.size)
    if len(data) < operation.size:
        raise ValueError("the end of the file")
    return int.from_bytes(data, "little")


def read_pickle_bytes(data: bytes) -> Reading:
    return read_pickle(io.BytesIO(data))
