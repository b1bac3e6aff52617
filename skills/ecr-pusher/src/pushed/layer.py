"""Layers compressed to the same bytes each time: no name, no date, and input in pieces of one size.

Equal bytes hold for one version of isal on one kind of processor; another may compress differently, and then the digest differs.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import trainyard_shell as shell
from pushed.image import OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Blob, unusable

PIECE_BYTES = 1 << 20
LEVEL = 2
HEADER = b"\x1f\x8b\x08\x00" + b"\x00" * 4 + b"\x00\xff"
"""RFC 1952: deflate, no flags, no time, unknown system."""
MAGIC = {b"\x1f\x8b": OCI_LAYER_GZIP, b"\x28\xb5\x2f\xfd": OCI_LAYER_ZSTD}


@dataclass(frozen=True)
class Part:
    """A piece of an open file; the file's own position is not used, so that threads can read it at once."""

    file: BinaryIO
    start: int
    size: int

    def at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes; fewer only at the end. Raises SkillError where the disk fails."""
        try:
            return os.pread(self.file.fileno(), max(0, min(size, self.size - offset)), self.start + offset)
        except OSError as error:
            raise cannot_read("the image", error) from error


def cannot_read(path: object, error: OSError) -> shell.SkillError:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return shell.SkillError("not-found", f"{path} does not exist", hint="is the path right?")
    code = "unreachable" if error.errno in shell.DISK_TROUBLE else "permission"
    return shell.SkillError(
        code, f"{path} cannot be read: {error.strerror or error}", hint="is its disk there, and may you read it?"
    )


def scratch_file() -> BinaryIO:
    """A file without a name: it is gone with this process, however that ends. TMPDIR says where. Raises SkillError."""
    try:
        return tempfile.TemporaryFile(prefix="trainyard-push-")
    except OSError as error:
        raise no_room(error) from error


def no_room(error: OSError) -> shell.SkillError:
    hint = "room for the compressed image, or another place for it: TMPDIR=/path/with/room"
    return shell.cannot_write(f"the compressed layer (in {tempfile.gettempdir()})", error, hint)


def media_type(head: bytes) -> str | None:
    """The media type of a layer that is compressed already; None for a plain tar."""
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)


def pieces(read: Callable[[int], bytes], size: int = PIECE_BYTES) -> Iterator[bytes]:
    """Pieces of exactly `size` bytes, the last one shorter, whatever `read` returns at a time: deflate's output depends on it."""
    waiting = bytearray()
    while data := read(size - len(waiting)):
        waiting += data
        if len(waiting) == size:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def compressed(data: Iterable[bytes]) -> tuple[Blob, str]:
    """(the layer compressed in a scratch file, digest of the plain bytes). Raises SkillError where the disk is full."""
    from isal import isal_zlib

    out = Writer()
    packer = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, -15)
    plain, crc, size = hashlib.sha256(), 0, 0
    out.write(HEADER)
    for piece in data:
        plain.update(piece)
        crc, size = isal_zlib.crc32(piece, crc), size + len(piece)
        out.write(packer.compress(piece))
    out.write(packer.flush())
    out.write(struct.pack("<II", crc, size & 0xFFFFFFFF))
    return out.blob(OCI_LAYER_GZIP), "sha256:" + plain.hexdigest()


def unpacked_digest(file: io.RawIOBase, what: str) -> str:
    """Digest of what a gzip stream unpacks to, piece by piece. Raises SkillError usage where it does not."""
    from isal import igzip, igzip_lib

    digest = hashlib.sha256()
    try:
        with igzip.IGzipFile(fileobj=file, mode="rb") as stream:  # type: ignore[no-untyped-call]
            while piece := stream.read(PIECE_BYTES):
                digest.update(piece)
    except (OSError, EOFError, igzip_lib.IsalError) as error:  # type: ignore[misc]
        raise unusable(what, f"it does not unpack: {error}") from error
    return "sha256:" + digest.hexdigest()


def kept(data: Iterable[bytes], media_type: str) -> Blob:
    """Bytes as they are, in a scratch file."""
    out = Writer()
    for piece in data:
        out.write(piece)
    return out.blob(media_type)


class Writer:
    """A scratch file and the digest of what was written to it."""

    def __init__(self) -> None:
        self.file, self.hash, self.size = scratch_file(), hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        try:
            self.file.write(data)
        except OSError as error:
            self.close()
            raise no_room(error) from error
        self.hash.update(data)
        self.size += len(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is still buffered does not fit either
            self.file.close()

    def flush(self) -> None:
        try:
            self.file.flush()
        except OSError as error:
            self.close()
            raise no_room(error) from error

    def blob(self, media_type: str) -> Blob:
        self.flush()
        return Blob("sha256:" + self.hash.hexdigest(), self.size, media_type, Part(self.file, 0, self.size))
