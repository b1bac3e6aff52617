"""Files that somebody else may have damaged, edited by hand or made huge: read within limits, or refused in words. Files of ours: replaced as a whole.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
Standard library only, for local-runner's supervisor reads with it too.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

MAX_DOCUMENT_BYTES = 16 << 20
MAX_NESTING = 64
"""No document of ours is deeper than ten levels; a parser that calls itself for each level ends at about a thousand."""

# A string and what follows an escape in it, possessive: the time grows with the length and nothing else.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)


class Unusable(ValueError):
    """What a file holds cannot be used; the text says which file, where in it, and why."""


def open_regular(path: Path) -> BinaryIO:
    """The file, open for reading. Raises Unusable for a folder, a pipe or a device; OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait for its writer
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode):
        return open(handle, "rb")
    os.close(handle)
    raise Unusable(f"{path} is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or a device'}, not a file")


def read_regular(path: Path, limit_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
    """All bytes of a regular file. Raises Unusable, also for more than `limit_bytes`; OSError."""
    with open_regular(path) as file:
        raw = file.read(limit_bytes + 1)
    if len(raw) > limit_bytes:
        raise Unusable(f"{path} is longer than {limit_bytes} bytes")
    return raw


def parse(raw: bytes) -> Any:
    """The JSON value in `raw`. Raises Unusable for what is not JSON in UTF-8, or is nested deeper than MAX_NESTING."""
    check_nesting(raw)
    try:
        return json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise Unusable(f"it is not JSON: {error}") from error


def check_nesting(raw: bytes) -> None:
    """Raises Unusable where brackets outside strings are deeper than MAX_NESTING: before any parser calls itself for each."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_NESTING:
        return
    level = 0
    for token in _TOKEN.finditer(raw):
        level += 1 if token[0] in (b"[", b"{") else -1 if token[0] in (b"]", b"}") else 0
        if level > MAX_NESTING:
            raise Unusable(f"it is nested deeper than {MAX_NESTING} levels")


def tail(path: Path, limit_bytes: int) -> bytes:
    """The end of a file of any length. Raises Unusable or OSError."""
    with open_regular(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - limit_bytes))
        return file.read(limit_bytes)


def read_object(path: Path, kinds: dict[str, str] | None = None) -> dict[str, Any] | None:
    """The JSON object in `path`, None when there is no such file; members named in `kinds` have that kind or are null.

    Raises Unusable, which names the file and the member, and OSError.
    """
    try:
        raw = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        document = parse(raw)
        if not isinstance(document, dict):
            raise Unusable("it holds no JSON object")
        for name, kind in (kinds or {}).items():
            if document.get(name) is not None and not _KINDS[kind](document[name]):
                raise Unusable(f"its member {name} is not {kind}: {json.dumps(document[name])[:60]}")
    except Unusable as error:
        raise Unusable(f"{path} is damaged: {error}") from None
    return document


@contextlib.contextmanager
def replacing(path: Path, *, part: Path | None = None) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` at the end of the block: after a kill at any point that holds the old bytes or the new ones.

    At the end both bytes and name are on the disk. `part` is the file in between; its name is drawn, so that two writers without a lock,
    on two machines even, do not meet in it. Raises OSError; then, and after an error in the block, nothing is left behind.
    """
    part = part or path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def replace_file(path: Path, data: bytes, *, part: Path | None = None) -> None:
    """`replacing` with all bytes at hand."""
    with replacing(path, part=part) as file:
        file.write(data)


def missing(path: Path) -> list[Path]:
    """`path` and the folders above it that are not there, the innermost first."""
    return [each for each in (path, *path.parents) if not os.path.lexists(each)]


def remove_empty(made: list[Path]) -> None:
    """What `missing` named and was made since then goes again, where nobody has put anything into it."""
    with contextlib.suppress(OSError):
        for each in made:
            if each.is_dir():
                each.rmdir()
            elif not each.stat().st_size:
                each.unlink()


def sync_folder(path: Path) -> None:
    """The names in a folder are on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_text(value: Any) -> bool:
    """Text that can be printed and used as a path: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    # whole numbers of JSON have no bound here, and 10**400 is no float
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**53 and math.isfinite(value)


_KINDS: dict[str, Callable[[Any], bool]] = {
    "text": _is_text,
    "a number": _is_number,
    "a whole number": lambda value: _is_number(value) and isinstance(value, int),
    "an object": lambda value: isinstance(value, dict),
    "a list of texts": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "an object of texts": lambda value: isinstance(value, dict) and all(map(_is_text, [*value, *value.values()])),
}
