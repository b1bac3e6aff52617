"""What each file of a context holds: its checksums, and whether that looks like a secret. Files are read again only when they changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_files
import trainyard_shell as shell
from build_context.listing import Entry, Listing
from build_context.sensitive import MAX_SCANNED_BYTES, by_content

fast: Any = zlib
with contextlib.suppress(ImportError):  # the same checksum many times as fast
    from isal import isal_zlib as fast

PIECE_BYTES = 1 << 20
THREADS = min(8, os.cpu_count() or 1)
MAX_CACHE_BYTES = 64 << 20
FILES = "files-3"
"""Another number where sensitive.py looks for something else: what was found before counts no more."""
FRESH_NS = 2_000_000_000
"""A file that was written this shortly before it was read may change once more within one tick of the file system's clock."""


@dataclass(frozen=True)
class Known:
    """Of one file."""

    sha256: str
    crc: int
    """CRC-32, as a ZIP has it: whoever reads the file again sees by it, at a tenth of the cost, that it is still the same."""
    secret: str | None
    """What its content looks like, None: no secret."""


def known(listing: Listing) -> dict[str, Known]:
    """Path -> what it holds, for every file. Raises SkillError permission, conflict (it changed while it was read)."""
    cache = _load(listing.root)
    now = time.time_ns()
    found: dict[str, Known] = {}
    fresh: list[Entry] = []
    for each in listing.files:
        row = cache.get(each.path)
        if row and row[:4] == [each.size, *each.stamp]:
            found[each.path] = Known(str(row[4]), int(row[5]), row[6])
        else:
            fresh.append(each)
    with ThreadPoolExecutor(THREADS) as pool:
        found.update(zip((each.path for each in fresh), pool.map(lambda each: _read(listing.root, each), fresh), strict=True))
    if fresh or len(cache) != len(found):
        _save(listing, {each.path: found[each.path] for each in listing.files if now - max(each.stamp[:2]) > FRESH_NS})
    return found


def digest(listing: Listing, known: dict[str, Known]) -> str:
    """The SHA-256 of a context: kinds, modes, names, contents and targets, in the order of the names."""
    whole = hashlib.sha256(b"trainyard context 1\n")
    for each in listing.entries:
        held = known[each.path].sha256 if each.kind == "file" else each.target
        for part in (each.kind, f"{each.mode:o}", each.path, held):
            whole.update(os.fsencode(part) + b"\0")
    return whole.hexdigest()


def _read(root: Path, entry: Entry) -> Known:
    sha, crc, head, size = hashlib.sha256(), 0, b"", 0
    try:
        with trainyard_files.open_regular(root / entry.path) as file:
            while piece := file.read(PIECE_BYTES):
                head = head or piece[:MAX_SCANNED_BYTES]
                size += len(piece)
                sha.update(piece)
                crc = fast.crc32(piece, crc)
    except PermissionError as error:
        message = f"{shell.clean(entry.path, 200)} cannot be read: {error.strerror}"
        raise shell.SkillError("permission", message, hint="chmod, or a line in .dockerignore that leaves it out") from error
    except (OSError, trainyard_files.Unusable) as error:
        raise changed(entry.path) from error
    if size != entry.size:
        raise changed(entry.path)
    return Known(sha.hexdigest(), crc, by_content(head))


def changed(path: str) -> shell.SkillError:
    message = f"{shell.clean(path, 200)} changed while the context was read"
    return shell.SkillError(
        "conflict", message, hint="the same call again, when nothing writes into the folder", retryable=True
    )


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainyard" / "image-builder"


def _place(root: Path) -> Path:
    return cache_folder() / f"files-{hashlib.sha256(os.fsencode(root)).hexdigest()[:16]}.json"


def _load(root: Path) -> dict[str, list[Any]]:
    """{} where there is none, or it is damaged: a cache is only a help."""
    try:
        rows = trainyard_files.parse(trainyard_files.read_regular(_place(root), MAX_CACHE_BYTES))[FILES]
        return {path: row for path, row in rows.items() if _is_row(row)}
    except (OSError, trainyard_files.Unusable, TypeError, KeyError, AttributeError, RuntimeError):
        return {}


def _is_row(row: Any) -> bool:
    return isinstance(row, list) and len(row) == 7 and len(str(row[4])) == 64 and isinstance(row[5], int)


def _save(listing: Listing, found: dict[str, Known]) -> None:
    stamps = {each.path: [each.size, *each.stamp] for each in listing.files}
    rows = {path: [*stamps[path], each.sha256, each.crc, each.secret] for path, each in found.items()}
    with contextlib.suppress(
        OSError, UnicodeError
    ):  # no home, a full disk, a name that is not UTF-8: then the next call reads again
        cache_folder().mkdir(parents=True, exist_ok=True)
        trainyard_files.replace_file(_place(listing.root), json.dumps({FILES: rows}).encode())
