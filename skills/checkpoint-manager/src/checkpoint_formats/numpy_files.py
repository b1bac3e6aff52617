"""What a NumPy file names: an array of objects is a pickle behind its header. No value is read."""

from __future__ import annotations

import ast
import zipfile
from pathlib import Path
from typing import IO, Any

from torch_reading.pickle_names import Suspicion
from torch_reading.pickle_reader import read_pickle_bytes
from torch_reading.pickle_values import PickleError
from torch_reading.zip_archive import ZIP_ERRORS

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 1 << 16
"""NumPy itself takes no more than 10,000, unless it is told to load pickles."""
MAX_OBJECT_BYTES = 16 << 20
MAX_ARRAYS = 1000


def names_in_arrays(path: Path) -> tuple[tuple[Suspicion, ...], str | None]:
    """(what the pickles in a .npy or .npz name, what kept the rest from being read). Raises OSError."""
    found: dict[Suspicion, None] = {}
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return tuple(_names(file)), None
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            for info in infos[:MAX_ARRAYS]:
                with archive.open(info) as member:
                    found.update(dict.fromkeys(_names(member)))
    except PickleError as error:
        return (*found, *error.suspicions), str(error)
    except ZIP_ERRORS as error:
        return tuple(found), str(error)[:100]
    except OSError as error:
        if error.errno is not None:
            raise
        return tuple(found), str(error)[:100]  # of bz2: its data are not
    more = len(infos) - MAX_ARRAYS
    return tuple(found), f"{more} arrays more than the {MAX_ARRAYS} that are looked at" if more > 0 else None


def _names(file: IO[bytes]) -> list[Suspicion]:
    """Raises PickleError where the header cannot be read: what it says of its data nobody knows then."""
    head = file.read(8)
    if head[:6] != MAGIC:
        return []
    length = int.from_bytes(file.read(2 if head[6:7] == b"\1" else 4), "little")
    if length > MAX_HEADER_BYTES:
        raise PickleError(f"a header of {length} bytes")
    if not _holds_objects(_described(file.read(length))):
        return []
    return read_pickle_bytes(file.read(MAX_OBJECT_BYTES)).suspicions


def _described(header: bytes) -> Any:
    """As NumPy reads it: a literal of Python in any spelling, a word with quotes of either kind, joined words, escapes."""
    try:
        return ast.literal_eval(header.decode("latin-1").strip())["descr"]
    except (ValueError, SyntaxError, TypeError, KeyError, RecursionError, MemoryError) as error:
        raise PickleError(f"a header that cannot be read: {type(error).__name__}") from None


def _holds_objects(descr: Any) -> bool:
    """`|O`, `i4,O` or `object`; a field (name, type, ...) of a record, an array's (type, shape), however deep."""
    if isinstance(descr, str):
        return "O" in descr or "object" in descr  # no other type has that letter
    if isinstance(descr, list):
        return any(isinstance(field, tuple) and _holds_objects(field[1:2]) for field in descr)
    return isinstance(descr, tuple) and bool(descr) and _holds_objects(descr[0])
