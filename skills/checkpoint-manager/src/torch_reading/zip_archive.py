"""The zip archive that torch.save writes: its members, their CRC-32, the pickle inside; without torch and without unpickling.

Members: `<name>/data.pkl` (a pickle whose tensors refer to storages by key), `<name>/data/<key>` (a storage's bytes, uncompressed),
`<name>/byteorder`, `<name>/version`. An archive may stand in the middle of a file: each entry of a .distcp file is one.
"""

from __future__ import annotations

import io
import lzma
import os
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

try:
    from isal.isal_zlib import crc32  # several times faster
except ImportError:
    from zlib import crc32

from tensor_reading.layout import LayoutError, NotReadError
from torch_reading.pickle_names import Suspicion
from torch_reading.pickle_reader import MAX_PICKLE_BYTES, read_pickle, read_pickle_bytes
from torch_reading.pickle_values import PickleError, Reading, TooLargeError
from torch_reading.tensors import Storage

ZIP_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(
        RuntimeError,
        EOFError,
        ValueError,
        OverflowError,
    ),  # of a password, a method that is not known, a torn end, wrong numbers
)
"""What zipfile raises of an archive that is damaged or odd; a broken bzip2 member is an OSError without a number."""
MAX_MEMBERS = 250_000
ENTRY_BYTES = 200
"""Of a member in the directory, more than torch writes."""
MAX_INFLATION = 20
"""A compressed member may claim so many times its size in the file."""
READ_BYTES = 4 << 20
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")


@dataclass(frozen=True)
class Member:
    """One file inside the archive; `begin` is where its bytes stand in the file on disk."""

    name: str
    begin: int
    size_bytes: int
    stored_bytes: int
    crc32: int
    compressed: bool


@dataclass(frozen=True)
class TorchZip:
    """An archive whose directory is sound; no storage has been read."""

    path: Path
    begin: int
    size_bytes: int
    members: dict[str, Member] = field(repr=False)
    """By name without the archive's own name in front: `data.pkl`, `data/0`."""
    problems: tuple[str, ...] = ()
    """What no writer writes: names that point out of the archive."""

    @property
    def is_script(self) -> bool:
        """A TorchScript program rather than saved data."""
        return "constants.pkl" in self.members and any(name.startswith("code/") for name in self.members)

    @property
    def has_crc(self) -> bool:
        """torch can be told to write no CRC-32: then the directory says 0 for every member."""
        return any(member.crc32 for member in self.members.values() if member.size_bytes)

    def storage(self, key: str) -> Storage | None:
        """Raises LayoutError for one that is there and cannot be read in place."""
        member = self.members.get(f"data/{key}")
        if member is None:
            return None
        if member.compressed:
            raise LayoutError(f"member data/{key[:40]} is compressed: torch.save does not write that")
        return self.path, member.begin, member.size_bytes

    def is_foreign_order(self) -> bool:
        member = self.members.get("byteorder")
        return member is not None and member.size_bytes < 16 and checked_member(self, member, keep=True).strip() == b"big"


def begins_like_torch(head: bytes) -> bool:
    """Is the first member of an archive that begins like this the one that torch.save writes first?"""
    if len(head) < _LOCAL_HEADER.size:
        return False
    length = _LOCAL_HEADER.unpack(head[: _LOCAL_HEADER.size])[-2]
    return head[_LOCAL_HEADER.size : _LOCAL_HEADER.size + length].endswith((b"/data.pkl", b"/.format_version"))


class _Window(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, path: Path, begin: int, size_bytes: int) -> None:
        self._file, self._begin, self._size, self._at = path.open("rb"), begin, size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if at < 0:
            raise ValueError("a position before the beginning")
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._begin + self._at)
        data = self._file.read(min(len(buffer), max(0, self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def open_torch_zip(path: Path, begin: int = 0, size_bytes: int | None = None) -> TorchZip:
    """Read the archive's directory and every member's own header. Raises LayoutError or OSError."""
    size = path.stat().st_size - begin if size_bytes is None else size_bytes
    if (count := member_count(path, begin, size)) > MAX_MEMBERS:
        raise NotReadError(f"{count} members, at most {MAX_MEMBERS} are read")
    try:
        with _Window(path, begin, size) as window, zipfile.ZipFile(window) as archive:  # type: ignore[type-var,unused-ignore]
            infos = archive.infolist()
            members = [_member(window, info, begin) for info in infos]
    except ZIP_ERRORS as error:
        raise LayoutError(f"its zip directory cannot be read: {str(error)[:120]}") from None
    _check_places(members, begin + size)
    names = [member.name for member in members]
    if len(set(names)) != len(names):
        raise LayoutError("two members have the same name")
    tops = [
        name[: -len("data.pkl")]
        for name in names
        if name == "data.pkl" or (name.endswith("/data.pkl") and name.count("/") == 1)
    ]
    if len(tops) > 1:
        raise LayoutError("two members are data.pkl: which one a reader takes is open")
    inside = {member.name.removeprefix(tops[0] if tops else ""): member for member in members}
    # torch looks names up without regard to case.
    places = {name.lower() if name.lower().startswith("data") else name for name in inside}
    if len(places) != len(members):
        raise LayoutError("two members have the same name to a reader: which one it takes is open")
    outward = [name for name in names if name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/")]
    problems = tuple(f"member {name[:100]!r} points out of the archive" for name in outward[:5])
    return TorchZip(path, begin, size, inside, problems)


def member_count(path: Path, begin: int, size_bytes: int) -> int:
    """The members that the end of the archive claims: a directory of millions is not parsed to find that out."""
    with path.open("rb") as file:
        tail = min(size_bytes, 65_557)  # a record of 22 bytes and a comment
        file.seek(begin + size_bytes - tail)
        data = file.read(tail)
    at = data.rfind(b"PK\x05\x06")
    if at < 0 or len(data) < at + 22:
        return 0
    count, directory_bytes = struct.unpack_from("<HL", data, at + 10)
    large = data.rfind(b"PK\x06\x06", 0, at)
    if (count == 0xFFFF or directory_bytes == 0xFFFFFFFF) and large >= 0 and len(data) >= large + 48:
        count, directory_bytes = struct.unpack_from("<QQ", data, large + 32)
    return max(int(count), int(directory_bytes) // ENTRY_BYTES)  # the count is a claim, the length is what a reader goes by


def _member(window: _Window, info: zipfile.ZipInfo, begin: int) -> Member:
    window.seek(info.header_offset)
    header = window.read(_LOCAL_HEADER.size) or b""
    if len(header) < _LOCAL_HEADER.size:
        raise LayoutError(f"member {info.filename[:100]!r} lies behind the end")
    signature, *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
    name = window.read(name_length) or b""
    if signature != b"PK\x03\x04" or name != info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437"):
        raise LayoutError(f"the header of member {info.filename[:100]!r} is not what the directory says")
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise LayoutError(f"member {info.filename[:100]!r} is encrypted or packed in a way that torch does not write")
    stored = info.compress_type == zipfile.ZIP_STORED
    if stored and info.file_size != info.compress_size:
        raise LayoutError(f"member {info.filename[:100]!r} has two sizes")
    if not stored and info.file_size > MAX_INFLATION * info.compress_size + READ_BYTES:
        raise LayoutError(f"member {info.filename[:100]!r} would grow from {info.compress_size} to {info.file_size} bytes")
    data = begin + info.header_offset + _LOCAL_HEADER.size + name_length + extra_length
    return Member(info.filename, data, info.file_size, info.compress_size, info.CRC, not stored)


def _check_places(members: list[Member], end: int) -> None:
    """Members lie inside the file and share no byte: an archive of overlapping members can claim any size."""
    at = 0
    for member in sorted(members, key=lambda member: (member.begin, member.stored_bytes)):
        if member.begin < at:
            raise LayoutError(f"member {member.name[:100]!r} overlaps the one before it")
        at = member.begin + member.stored_bytes
        if at > end:
            raise LayoutError(f"member {member.name[:100]!r} ends at byte {at} of {end}")


def checked_member(archive: TorchZip, member: Member, *, keep: bool = False) -> bytes:
    """Read a whole member and compare its CRC-32, where the archive has any; its bytes with `keep`. Raises LayoutError or OSError."""
    digest, left, grown, kept = 0, member.stored_bytes, 0, []
    inflate = zlib.decompressobj(-15) if member.compressed else None
    with archive.path.open("rb", buffering=0) as file:
        file.seek(member.begin)
        while left:
            data = file.read(min(READ_BYTES // (MAX_INFLATION if inflate else 1), left))
            if not data:
                raise LayoutError(f"{member.name[:100]}: it became shorter while it was read")
            left -= len(data)
            try:
                plain = inflate.decompress(data) if inflate else data
            except zlib.error:
                raise LayoutError(f"{member.name[:100]}: its packed bytes are damaged") from None
            grown += len(plain)
            if grown > member.size_bytes:
                raise LayoutError(f"{member.name[:100]}: longer than the {member.size_bytes} bytes that it claims")
            digest = crc32(plain, digest)
            if keep:
                kept.append(plain)
    if grown != member.size_bytes or (archive.has_crc and digest != member.crc32):
        raise LayoutError(f"{member.name[:100]}: its CRC-32 differs from the archive's")
    return b"".join(kept)


def read_data_pickle(archive: TorchZip) -> Reading:
    """The pickle inside, CRC compared. Raises LayoutError, PickleError (TooLargeError beyond the bounds) or OSError."""
    member = archive.members.get("data.pkl")
    if member is None:
        raise LayoutError("a zip archive without data.pkl: torch.save did not write it")
    if member.size_bytes > MAX_PICKLE_BYTES:
        raise TooLargeError(f"data.pkl has {member.size_bytes} bytes, at most {MAX_PICKLE_BYTES} are read")
    try:
        return read_pickle_bytes(checked_member(archive, member, keep=True))
    except LayoutError as error:
        error.suspicions = _names_all_the_same(archive, member)
        raise


def _names_all_the_same(archive: TorchZip, member: Member) -> tuple[Suspicion, ...]:
    """What a pickle with a wrong CRC-32 names: not every reader compares."""
    if member.compressed:
        return ()
    with archive.path.open("rb") as file:
        file.seek(member.begin)
        try:
            return tuple(read_pickle(file).suspicions)
        except PickleError as error:
            return error.suspicions
