"""The bytes of a checkpoint's files: read within bounds, and compared with their digests. Standard library only.

Digests: xxh3-128 where the xxhash package is there, else CRC-32 (zlib's polynomial; `isal` computes the same value faster).
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

try:
    import xxhash
except ImportError:  # the inspector must run in any image
    xxhash = None  # type: ignore[assignment,unused-ignore]
try:
    from isal.isal_zlib import crc32 as crc32_of
except ImportError:
    from zlib import crc32 as crc32_of

IN_TRAINYARD = bool(__package__)
if IN_TRAINYARD:
    from trainyard import errors

    DamagedError = errors.DamagedError
else:  # a copy in the checkpoint-manager skill, or in a pod: the runtime's other errors are not there

    class DamagedError(Exception):
        """A checkpoint, or a file of one, is not what its manifest says; see errors.py of the runtime."""


READ_BYTES = 4 << 20
MAX_JSON_BYTES = 128 << 20


class MissingError(DamagedError):
    """A file that belongs to the checkpoint is not there."""


class NotProvableError(DamagedError):
    """The manifest has no digest of a file that this Python can compute: no restore takes it, and nothing says that it is wrong."""


class NotOursError(DamagedError):
    """No step of this folder's run: not a checkpoint, one of another format version, or a step of another run."""


class NoManifestError(NotOursError, MissingError):
    """A folder without a manifest."""


# --- digests -----------------------------------------------------------------------------------------------------


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Any, /) -> None:
        self._value = crc32_of(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class FileDigest:
    """Size, xxh3-128 and CRC-32 of bytes as they are written: the manifest's entry of one file."""

    def __init__(self) -> None:
        self.size = 0
        self._hashes: dict[str, _Hash] = {"crc32": _Crc32()}
        if xxhash is not None:
            self._hashes["xxh3_128"] = xxhash.xxh3_128()

    def update(self, data: Any) -> None:
        self.size += len(data)
        for each in self._hashes.values():
            each.update(data)

    def entry(self) -> dict[str, Any]:
        return {"size": self.size, **{name: each.hexdigest() for name, each in sorted(self._hashes.items())}}


def digest_of(data: bytes) -> dict[str, Any]:
    """The manifest's entry for a file that holds `data`."""
    digest = FileDigest()
    digest.update(data)
    return digest.entry()


def algorithm_for(entry: dict[str, Any]) -> str | None:
    """The strongest digest of this entry that this Python can compute; None if there is none."""
    if xxhash is not None and "xxh3_128" in entry:
        return "xxh3_128"
    return "crc32" if "crc32" in entry else None


def new_hash(algorithm: str) -> _Hash:
    """An incremental hash by the name it has in a manifest."""
    return xxhash.xxh3_128() if algorithm == "xxh3_128" else _Crc32()


def verify_file(path: Path, entry: dict[str, Any]) -> str:
    """Read the whole file and compare it with its manifest entry; returns the algorithm.

    Raises DamagedError, or OSError when the file cannot be read.
    """
    algorithm = _algorithm_for(path.name, entry)
    size, digest, buffer = 0, new_hash(algorithm), memoryview(bytearray(READ_BYTES))
    with open_own(path) as file, naming(path):
        while count := file.readinto(buffer):
            size += count
            digest.update(buffer[:count])
    _compare(path.name, entry, size, digest.hexdigest(), algorithm)
    return algorithm


def verify_bytes(name: str, data: bytes, entry: dict[str, Any]) -> None:
    """Compare the content of a file, already read, with its manifest entry. Raises DamagedError."""
    algorithm = _algorithm_for(name, entry)
    digest = new_hash(algorithm)
    digest.update(data)
    _compare(name, entry, len(data), digest.hexdigest(), algorithm)


def _algorithm_for(name: str, entry: dict[str, Any]) -> str:
    algorithm = algorithm_for(entry)
    if algorithm is None:
        raise NotProvableError(f"{name}: the manifest has no digest of it that this Python can compute")
    return algorithm


def _compare(name: str, entry: dict[str, Any], size: int, digest: str, algorithm: str) -> None:
    if size != entry["size"]:
        raise DamagedError(f"{name}: {size} bytes, the manifest says {entry['size']}")
    if digest != entry[algorithm]:
        raise DamagedError(f"{name}: its {algorithm} differs from the manifest's")


# --- reading what anybody may have written -----------------------------------------------------------------------


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError from within names the file: read(2) knows a number, people know a name."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = os.fspath(path)
        raise


def open_own(path: Path) -> io.FileIO:
    """Open a file of a checkpoint, which is a regular file and never a link. Raises DamagedError (MissingError) or OSError."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):  # opening a FIFO would wait for ever; a link may lead anywhere
            raise DamagedError(f"{path.name}: not a regular file")
        file = io.FileIO(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        raise MissingError(f"{path.name}: missing") from None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    raise DamagedError(f"{path.name}: not a regular file")


def read_own(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a small file of a checkpoint. Raises DamagedError, also for more than `limit_bytes`, or OSError."""
    with open_own(path) as file, naming(path):
        size = os.fstat(file.fileno()).st_size
        # One more than the limit: the file may grow while it is read.
        data = read_all(file, limit_bytes + 1) if size <= limit_bytes else b""
    if size > limit_bytes or len(data) > limit_bytes:
        raise DamagedError(f"{path.name}: {max(size, len(data))} bytes; at most {limit_bytes} are read")
    return data


def read_all(file: io.FileIO, at_most: int) -> bytes:
    """The next bytes, fewer only at the end of the file."""
    parts, left = [], at_most
    while left and (part := file.read(min(left, READ_BYTES))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def read_json(path: Path, limit_bytes: int = MAX_JSON_BYTES) -> Any:
    """The JSON value in a file of unknown origin. Raises ValueError (also for nesting too deep for a parser) or OSError."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    with path.open("rb", buffering=0) as file, naming(path):
        data = read_all(file, limit_bytes + 1) if status.st_size <= limit_bytes else b""
    if status.st_size > limit_bytes or len(data) > limit_bytes:
        raise ValueError(f"{max(status.st_size, len(data))} bytes")
    return parse_json(data)


def parse_json(data: bytes) -> Any:
    """The JSON value in these bytes. Raises ValueError, also for nesting too deep for a parser."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deep") from None
