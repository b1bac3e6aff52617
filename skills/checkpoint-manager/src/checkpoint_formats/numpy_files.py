"""What a NumPy file names: an array of objects is a pickle behind its header. No value is read."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import IO

from torch_reading.pickle_names import Suspicion
from torch_reading.pickle_reader import read_pickle_bytes
from torch_reading.pickle_values import PickleError

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 1 << 16
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
            for info in archive.infolist()[:MAX_ARRAYS]:
                with archive.open(info) as member:
                    found.update(dict.fromkeys(_names(member)))
    except PickleError as error:
        return (*found, *error.suspicions), str(error)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OverflowError) as error:
        return tuple(found), str(error)[:100]
    return tuple(found), None


def _names(file: IO[bytes]) -> list[Suspicion]:
    head = file.read(12)
    if head[:6] != MAGIC:
        return []
    wide = len(head) == 12 and head[6] > 1
    length = int.from_bytes(head[8:12] if wide else head[8:10], "little")
    text = (head[12:] if wide else head[10:]) + file.read(min(length, MAX_HEADER_BYTES) - (0 if wide else 2))
    if not re.search(rb"'descr':\s*[^,}]*\|?O", text):
        return []
    return read_pickle_bytes(file.read(MAX_OBJECT_BYTES)).suspicions
