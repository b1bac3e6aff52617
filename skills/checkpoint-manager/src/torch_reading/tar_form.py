"""The tar that torch wrote before 0.1.10: what its pickles name. Its tensors are not read.

Members: `storages` (a count, then for each a pickle of key, place and type, and the raw elements), `tensors` (a count, then for each a
pickle and its sizes), `pickle` (the object). torch.load unpickles all of them.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from torch_reading.pickle_names import STORAGE_ELEMENT_BYTES, Suspicion
from torch_reading.pickle_reader import read_pickle
from torch_reading.pickle_values import Global, PickleError, Reading

MAX_PICKLES = 100_000


def names_in_tar(path: Path) -> tuple[tuple[Suspicion, ...], str | None]:
    """(what its pickles name, what kept the rest of them from being read). Raises OSError."""
    found: dict[Suspicion, None] = {}
    try:
        with tarfile.open(path, "r:") as archive, path.open("rb") as file:
            for member in archive:
                if member.isfile() and member.name.removeprefix("./") in _READERS:
                    file.seek(member.offset_data)
                    for reading in _READERS[member.name.removeprefix("./")](file):
                        found.update(dict.fromkeys(reading.suspicions))
    except PickleError as error:
        return (*found, *error.suspicions), str(error)
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        return tuple(found), f"its tar cannot be read: {str(error)[:100]}"
    return tuple(found), None


def _object(file: BinaryIO) -> Iterator[Reading]:
    yield read_pickle(file)


def _storages(file: BinaryIO) -> Iterator[Reading]:
    for _ in range(_count(file)):
        reading = read_pickle(file)
        yield reading
        kind = reading.value[2] if isinstance(reading.value, tuple) and len(reading.value) > 2 else None
        size = STORAGE_ELEMENT_BYTES.get(kind.name) if isinstance(kind, Global) else None
        if size is None:
            raise PickleError("a storage of a type that is not known")
        file.seek(size * int.from_bytes(file.read(8), "little"), 1)
    yield read_pickle(file)  # views


def _tensors(file: BinaryIO) -> Iterator[Reading]:
    for _ in range(_count(file)):
        yield read_pickle(file)
        dimensions = int.from_bytes(file.read(8)[:4], "little")
        if dimensions > 64:
            raise PickleError("a tensor of more than 64 dimensions")
        file.seek(16 * dimensions + 8, 1)


def _count(file: BinaryIO) -> int:
    value = read_pickle(file).value
    if type(value) is not int or not 0 <= value <= MAX_PICKLES:
        raise PickleError("no count of what follows")
    return value


_READERS = {"storages": _storages, "tensors": _tensors, "pickle": _object}
