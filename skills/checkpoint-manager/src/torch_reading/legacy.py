"""The file that torch.save wrote before zip archives, and still writes on request: pickles, then the storages one after another.

Order: magic number, protocol, system, the object, the storages' keys; then for each key eight bytes count and the raw elements.
It has no checksum.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from tensor_reading.layout import LayoutError
from torch_reading.pickle_names import STORAGE_ELEMENT_BYTES, Suspicion
from torch_reading.pickle_reader import read_pickle
from torch_reading.pickle_values import Pairs, PickleError, Reading
from torch_reading.tensors import Storage, StorageReference, storage_reference

MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class LegacyFile:
    """A file whose pickles were read and whose storages have their sizes."""

    path: Path
    reading: Reading
    storages: dict[str, Storage] = field(repr=False)
    suspicions: list[Suspicion]
    little_endian: bool = True

    def storage(self, key: str) -> Storage | None:
        return self.storages.get(key)

    def is_foreign_order(self) -> bool:
        return not self.little_endian


def is_legacy(head: bytes) -> bool:
    """Does the file begin with the magic number, pickled by any protocol?"""
    return MAGIC.to_bytes(10, "little") in head[:40] or str(MAGIC).encode() in head[:40]


def read_legacy(path: Path) -> LegacyFile:
    """Read the pickles, find the storages. Raises LayoutError, PickleError or OSError."""
    readings: list[Reading] = []
    try:
        return _read(path, readings)
    except (LayoutError, PickleError) as error:
        error.suspicions = (*(each for reading in readings for each in reading.suspicions), *error.suspicions)
        raise


def _read(path: Path, readings: list[Reading]) -> LegacyFile:
    size = path.stat().st_size
    with path.open("rb") as file:
        readings += (read_pickle(file) for _ in range(5))
        magic, _, system, _, keys = (reading.value for reading in readings)
        if magic != MAGIC or not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise LayoutError("its pickles are not those of torch.save")
        references = _references(readings[3])
        storages = {key: _storage(file, path, references.get(key), key, size) for key in keys}
        if missing := sorted(set(references) - set(storages)):
            raise LayoutError(f"storage {missing[0][:40]} is missing")
        if file.tell() != size:
            raise LayoutError(f"{size} bytes, its storages end at {file.tell()}")
    suspicions = [each for reading in readings for each in reading.suspicions]
    little = system.get("little_endian") if isinstance(system, Pairs) else True
    return LegacyFile(path, readings[3], storages, suspicions, little is not False)


def _references(reading: Reading) -> dict[str, StorageReference]:
    found: dict[str, StorageReference] = {}
    for each in reading.references:
        reference = storage_reference(each)
        known = found.setdefault(reference.key, reference)
        if (known.type, known.elements) != (reference.type, reference.elements):
            raise LayoutError(f"storage {reference.key[:40]} is described in two ways")
    return found


def _storage(file: BinaryIO, path: Path, reference: StorageReference | None, key: str, size: int) -> Storage:
    number = file.read(8)
    if len(number) < 8:
        raise LayoutError(f"the file breaks off before storage {key[:40]}")
    count = int.from_bytes(number, "little")
    if reference is None:
        raise LayoutError(f"storage {key[:40]}: no tensor tells its type")
    if count != reference.elements:
        raise LayoutError(f"storage {key[:40]} has {count} elements, the pickle says {reference.elements}")
    begin, length = file.tell(), count * STORAGE_ELEMENT_BYTES[reference.type]
    if begin + length > size:
        raise LayoutError(f"storage {key[:40]} ends at byte {begin + length} of {size}")
    file.seek(begin + length)
    return path, begin, length
