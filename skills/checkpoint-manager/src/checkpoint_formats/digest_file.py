"""SHA256SUMS: the digests of a folder's files, in the form that `sha256sum --check` reads. Written by `export`, compared by `verify`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from torch_reading.file import FileVerdict

SUMS = "SHA256SUMS"
MAX_BYTES = 16 << 20
READ_BYTES = 4 << 20
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](?:\./)?([^\\\x00-\x1f]{1,1000})")


@dataclass(frozen=True)
class Sums:
    digests: dict[str, str]
    """File name, below the folder -> SHA-256."""
    problem: str | None = None
    """What is wrong with the file itself."""


def read_sums(folder: Path) -> Sums | None:
    """The digests that lie in a folder; None where there is no such file."""
    path = folder / SUMS
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_BYTES:
            return Sums({}, f"{path.stat().st_size} bytes; at most {MAX_BYTES} are read")
        return _parsed(path.read_bytes().decode())
    except (OSError, UnicodeDecodeError):
        return Sums({}, "it cannot be read")


def _parsed(text: str) -> Sums:
    digests: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or match[2].startswith("/") or ".." in match[2].split("/"):
            return Sums(digests, f"line {number} is not a digest and the name of a file of this folder")
        if digests.setdefault(match[2], match[1].lower()) != match[1].lower():
            return Sums(digests, f"two digests of {match[2][:100]}")
    return Sums(digests, None if digests else "it is empty")


def digest_of(path: Path) -> tuple[str, int]:
    """(SHA-256, bytes). Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while data := file.read(READ_BYTES):
            digest.update(data)
            size += len(data)
    return digest.hexdigest(), size


def compared(path: Path, digest: str, before: FileVerdict) -> FileVerdict:
    """The answer for a file whose digest is known; what was already wrong with it stays."""
    if before.status == "fail":
        return before
    try:
        if not path.is_file():
            return FileVerdict("fail", f"{SUMS} lists it, and it is missing")
        found, size = digest_of(path)
    except OSError as error:
        return FileVerdict("unknown", f"cannot be read: {error.strerror}", suspicions=before.suspicions)
    if found != digest:
        return replace(before, status="fail", problem=f"its SHA-256 differs from the one in {SUMS}", bytes_read=size)
    return replace(before, status="pass", problem=None, how="sha256", bytes_read=size)


def written(folder: Path) -> bytes:
    """The text of a SHA256SUMS for every file that lies in a folder. Raises OSError."""
    return "".join(f"{digest_of(path)[0]}  {path.name}\n" for path in sorted(folder.iterdir())).encode()
