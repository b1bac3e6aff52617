"""One file of torch.save, whichever of its two forms: what is in it, and is it intact? Only the form at hand is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tensor_reading.layout import LayoutError, NotReadError, Tensor
from torch_reading.pickle_names import Suspicion
from torch_reading.pickle_reader import read_pickle
from torch_reading.pickle_values import PickleError, Reading, TooLargeError
from torch_reading.tensors import Contents, Storage, contents, storage_reference

ZIP, LEGACY, SCRIPT, PICKLE, TAR, EMPTY, OTHER = (
    "torch-zip",
    "torch-legacy",
    "torchscript",
    "pickle",
    "torch-tar",
    "empty",
    "unknown",
)
PROTOCOLS = range(2, 6)


def is_zip(head: bytes) -> bool:
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def form(path: Path) -> str:
    """Which form of file it is, by its first bytes. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return EMPTY
    if is_zip(head):
        return ZIP
    from torch_reading.legacy import is_legacy

    if is_legacy(head):
        return LEGACY
    if head[257:262] == b"ustar":
        return TAR
    return PICKLE if (head[0] == 0x80 and len(head) > 1 and head[1] in PROTOCOLS) or _old_pickle(path) else OTHER


def _old_pickle(path: Path) -> bool:
    """Protocols 0 and 1 have no mark at the beginning: is the whole file one, or does it name code before it breaks off?"""
    try:
        return _read_alone(path).size_bytes > 2
    except PickleError as error:
        return any(each.runs_code for each in error.suspicions)


def _read_alone(path: Path) -> Reading:
    """The one pickle that is the whole file. Raises PickleError."""
    with path.open("rb") as file:
        reading = read_pickle(file)
    if reading.size_bytes != path.stat().st_size:
        error = PickleError(f"{path.stat().st_size - reading.size_bytes} bytes follow the end of its pickle")
        error.suspicions = tuple(reading.suspicions)
        raise error
    return reading


class Source(Protocol):
    """What the storages lie in: the members of an archive, or what follows the pickles."""

    def storage(self, key: str) -> Storage | None: ...

    def is_foreign_order(self) -> bool:
        """Were the storages written on a machine of the other byte order?"""
        ...


@dataclass(frozen=True)
class TorchFile:
    """A file that was opened: its pickle read as data, no storage read yet."""

    path: Path
    form: str
    root: Any = field(repr=False)
    """The value that torch.load would return, with placeholders for what it would import or call."""
    suspicions: list[Suspicion]
    source: Source | None = field(repr=False, default=None)
    reading: Reading | None = field(repr=False, default=None)

    def contents(self) -> Contents:
        """Tensors and the rest. Raises LayoutError or TooLargeError."""
        found = contents(self.root, self.locate)
        if self.source is not None and self.source.is_foreign_order():
            note = "written on a machine of the other byte order: its values are not read here"
            found.tensors = [Tensor(each.name, each.dtype, each.shape, (), note) for each in found.tensors]
        return found

    def locate(self, key: str) -> Storage:
        """Where the storage of a key lies. Raises LayoutError."""
        storage = self.source.storage(key) if self.source is not None else None
        if storage is None:
            raise LayoutError(f"storage {key[:40]} is missing")
        return storage


def open_torch_file(path: Path, begin: int = 0, size_bytes: int | None = None) -> TorchFile:
    """Open a file of torch.save, or the archive `begin` bytes into it. Raises LayoutError, PickleError or OSError."""
    kind = ZIP if size_bytes is not None else form(path)
    if kind == ZIP:
        from torch_reading.zip_archive import open_torch_zip, read_data_pickle

        archive = open_torch_zip(path, begin, size_bytes)
        if archive.is_script:
            return TorchFile(path, SCRIPT, None, [], archive)
        reading = read_data_pickle(archive)
        return TorchFile(path, ZIP, reading.value, reading.suspicions, archive, reading)
    if kind == LEGACY:
        from torch_reading.legacy import read_legacy

        legacy = read_legacy(path)
        return TorchFile(path, LEGACY, legacy.reading.value, legacy.suspicions, legacy, legacy.reading)
    if kind == PICKLE:
        reading = _read_alone(path)
        return TorchFile(path, PICKLE, reading.value, reading.suspicions, None, reading)
    words = {EMPTY: "empty", TAR: "the tar form of torch before 0.1.10, which is not read here"}
    raise LayoutError(
        words.get(kind, "neither a zip archive nor a pickle: torch.save did not write it, or its beginning is damaged")
    )


@dataclass(frozen=True)
class FileVerdict:
    """The answer for one file."""

    status: str
    """pass | fail | unknown"""
    problem: str | None = None
    how: str | None = None
    """What was compared."""
    bytes_read: int = 0
    suspicions: tuple[Suspicion, ...] = ()


def verify_torch_file(path: Path, begin: int = 0, size_bytes: int | None = None) -> FileVerdict:
    """Every member's CRC-32, and every storage against what the pickle says of it; without a checksum the answer is unknown."""
    suspicions: tuple[Suspicion, ...] = ()
    try:
        if size_bytes is None and form(path) == TAR:
            from torch_reading.tar_form import names_in_tar

            named = names_in_tar(path)[0]
            return FileVerdict("unknown", "the tar form of torch before 0.1.10 is not read here", suspicions=named)
        file = open_torch_file(path, begin, size_bytes)
        suspicions = tuple(file.suspicions)
        if file.form in (ZIP, SCRIPT):
            return _verify_zip(file)
        file.contents()
    except (TooLargeError, NotReadError) as error:
        return FileVerdict("unknown", str(error), suspicions=suspicions or error.suspicions)
    except (LayoutError, PickleError) as error:
        return FileVerdict("fail", str(error), suspicions=suspicions or error.suspicions)
    except OSError as error:
        return FileVerdict("unknown", f"cannot be read: {error.strerror}")
    return FileVerdict(
        "unknown",
        "its pickle and the sizes fit, and this form has no checksum: whether its bytes are right is not known",
        "structure",
        path.stat().st_size,
        suspicions,
    )


def _verify_zip(file: TorchFile) -> FileVerdict:
    """Raises LayoutError for the first thing that is wrong."""
    from torch_reading.zip_archive import TorchZip, checked_member

    archive = file.source
    assert isinstance(archive, TorchZip)
    for member in archive.members.values():
        checked_member(archive, member)
    if archive.problems:
        raise LayoutError(archive.problems[0])
    if file.reading is not None:
        _check_storages(file, file.reading)
        file.contents()
    read = sum(member.stored_bytes for member in archive.members.values())
    suspicions = tuple(file.suspicions)
    if not archive.has_crc:
        return FileVerdict("unknown", "its sizes fit; it was written without CRC-32", "structure", read, suspicions)
    return FileVerdict("pass", None, "crc32", read, suspicions)


def _check_storages(file: TorchFile, reading: Reading) -> None:
    """Every storage that the pickle names is there, with the size that it says, used or not. Raises LayoutError."""
    for each in reading.references:
        reference = storage_reference(each)
        _, _, size = file.locate(reference.key)
        if size != reference.size_bytes:
            raise LayoutError(f"storage {reference.key[:40]} has {size} bytes, its pickle says {reference.size_bytes}")
