"""A context as a ZIP whose bytes follow from the context alone: names sorted, times fixed, modes and links kept.

Files are compressed in threads (isal level 1, an eighth of zlib's time for 3 % more bytes); what does not shrink is stored. Format:
PKWARE's APPNOTE 6.3, with ZIP64 records where a number needs them.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import trainyard_files
from build_context.hashes import THREADS, Known, changed
from build_context.listing import Entry, Listing

fast: Any = zlib
with contextlib.suppress(ImportError):  # the same format eight times as fast
    from isal import isal_zlib as fast

DOS_TIME, DOS_DATE = 0, (1 << 5) | 1
"""1980-01-01, the first day that the format knows."""
STORED, DEFLATED = 0, 8
SAMPLE_BYTES = 64 << 10
WORTH_IT = 0.95
BIG = 0xFFFFFFFF
AHEAD_BYTES = 256 << 20
"""How much may wait, compressed, to be written in its turn."""


@dataclass(frozen=True)
class Packed:
    """One entry, ready to be written."""

    entry: Entry
    method: int
    crc: int
    size: int
    data: bytes


class Stream:
    """The ZIP as a file to be read from front to back: packed while it is sent, and never whole in memory or on a disk.

    `own` files stand behind the context's. Reading raises SkillError conflict where a file has changed.
    """

    def __init__(self, listing: Listing, known: dict[str, Known], own: Sequence[tuple[str, bytes]] = ()) -> None:
        self._pieces = _pieces(chain(_packed(listing, known), _own(own)))
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """`size` bytes, fewer only at the end; -1 for all that is left."""
        parts, held = [self._rest], len(self._rest)
        while (size < 0 or held < size) and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            held += len(piece)
        whole = b"".join(parts)
        self._rest = whole[size:] if size >= 0 else b""
        return whole[:size] if size >= 0 else whole

    def close(self) -> None:
        """What is being packed ahead ends."""
        self._pieces.close()


def _own(files: Sequence[tuple[str, bytes]]) -> Iterator[Packed]:
    for name, data in files:
        yield Packed(Entry(name, "file", 0o644, len(data)), STORED, zlib.crc32(data), len(data), data)


def _pieces(entries: Iterable[Packed]) -> Generator[bytes, None, None]:
    """The bytes of the ZIP, in order."""
    directory: list[bytes] = []
    at = 0
    for each in entries:
        head = _local(each)
        yield head
        yield each.data
        directory.append(_central(each, at))
        at += len(head) + len(each.data)
    whole = b"".join(directory)
    yield whole
    yield _end(len(directory), len(whole), at)


def _packed(listing: Listing, known: dict[str, Known]) -> Iterator[Packed]:
    """In order, compressed ahead within a bound of memory."""
    waiting: deque[tuple[Future[Packed], int]] = deque()
    ahead = 0
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(THREADS))
        stack.callback(lambda: [each.cancel() for each, _ in waiting])
        for entry in listing.entries:
            while waiting and ahead + entry.size > AHEAD_BYTES:
                future, size = waiting.popleft()
                ahead -= size
                yield future.result()
            waiting.append((pool.submit(_pack, listing.root, entry, known), entry.size))
            ahead += entry.size
        while waiting:
            yield waiting.popleft()[0].result()


def _pack(root: Path, entry: Entry, known: dict[str, Known]) -> Packed:
    if entry.kind != "file":
        data = os.fsencode(entry.target)
        return Packed(entry, STORED, zlib.crc32(data), len(data), data)
    try:
        with trainyard_files.open_regular(root / entry.path) as file:
            data = file.read(entry.size + 1)
    except (OSError, trainyard_files.Unusable) as error:
        raise changed(entry.path) from error
    crc = fast.crc32(data)
    if len(data) != entry.size or crc != known[entry.path].crc:
        raise changed(entry.path)
    if len(data) > SAMPLE_BYTES and len(_deflated(data[:SAMPLE_BYTES])) > WORTH_IT * SAMPLE_BYTES:
        return Packed(entry, STORED, crc, len(data), data)
    packed = _deflated(data)
    if len(packed) >= WORTH_IT * len(data):
        return Packed(entry, STORED, crc, len(data), data)
    return Packed(entry, DEFLATED, crc, len(data), packed)


def _deflated(data: bytes) -> bytes:
    packer: Any = fast.compressobj(1, zlib.DEFLATED, -15)
    return bytes(packer.compress(data) + packer.flush())


def _name(entry: Entry) -> tuple[bytes, int]:
    """The name, and the flag that says it is UTF-8."""
    name = os.fsencode(entry.path) + (b"/" if entry.kind == "folder" else b"")
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return name, 0
    return name, 0 if name.isascii() else 1 << 11


def _extra(*numbers: int) -> bytes:
    """The ZIP64 field with the numbers that do not fit."""
    large = [each for each in numbers if each >= BIG]
    return struct.pack(f"<HH{len(large)}Q", 1, 8 * len(large), *large) if large else b""


def _local(each: Packed) -> bytes:
    name, flags = _name(each.entry)
    # Of a local header the field holds both sizes or none.
    extra = (
        _extra(BIG, BIG)[:4] + struct.pack("<QQ", each.size, len(each.data)) if max(each.size, len(each.data)) >= BIG else b""
    )
    sizes = (BIG, BIG) if extra else (len(each.data), each.size)
    version = 45 if extra else 20
    return struct.pack(
        "<4sHHHHHIIIHH", b"PK\3\4", version, flags, each.method, DOS_TIME, DOS_DATE, each.crc, *sizes, len(name), len(extra)
    ) + (name + extra)


def _central(each: Packed, at: int) -> bytes:
    name, flags = _name(each.entry)
    extra = _extra(each.size, len(each.data), at)
    kind = {"file": stat.S_IFREG, "folder": stat.S_IFDIR, "link": stat.S_IFLNK}[each.entry.kind]
    attributes = (kind | each.entry.mode) << 16 | (0x10 if each.entry.kind == "folder" else 0)
    sizes = (min(len(each.data), BIG), min(each.size, BIG))
    version = 45 if extra else 20
    fields = (each.method, DOS_TIME, DOS_DATE, each.crc, *sizes, len(name), len(extra), 0, 0, 0, attributes, min(at, BIG))
    return struct.pack("<4sBBHHHHHIIIHHHHHII", b"PK\1\2", version, 3, version, flags, *fields) + name + extra


def _end(count: int, size: int, at: int) -> bytes:
    whole = b""
    if count >= 0xFFFF or at >= BIG or size >= BIG:
        whole = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, at)
        whole += struct.pack("<4sIQI", b"PK\6\7", 0, at + size, 1)
    short = min(count, 0xFFFF)
    return whole + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, short, short, min(size, BIG), min(at, BIG), 0)
