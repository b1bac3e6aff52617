"""Small ways to damage a copy of a checkpoint, and where a tensor's bytes stand in a zip archive."""

from __future__ import annotations

import shutil
import struct
import zipfile
from pathlib import Path


def copied(source: Path, folder: Path) -> Path:
    """A copy that may be damaged."""
    target = folder / source.name
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)
    return target


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def member_span(path: Path, ending: str) -> tuple[int, int]:
    """(first byte, bytes) of the first member whose name ends so and that is not empty."""
    with zipfile.ZipFile(path) as archive:
        info = next(each for each in archive.infolist() if each.filename.endswith(ending) and each.file_size)
    data = path.read_bytes()
    name_length, extra_length = struct.unpack_from("<2H", data, info.header_offset + 26)
    return info.header_offset + 30 + name_length + extra_length, info.file_size


def with_pickle(source: Path, target: Path, pickle: bytes) -> Path:
    """A real archive of torch.save, its data.pkl replaced; every CRC is right."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            data = pickle if info.filename.endswith("/data.pkl") else old.read(info)
            new.writestr(zipfile.ZipInfo(info.filename), data)
    return target


def torch_zip(target: Path, pickle: bytes, storages: dict[str, bytes] | None = None, top: str = "archive/") -> Path:
    """An archive as torch.save writes it, by hand; every CRC is right."""
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(f"{top}data.pkl", pickle)
        archive.writestr(f"{top}byteorder", "little")
        for key, data in (storages or {}).items():
            archive.writestr(f"{top}data/{key}", data)
        archive.writestr(f"{top}version", "3\n")
    return target


def text(value: str) -> bytes:
    """A text in a pickle of protocol 2."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def tensor(key: str, shape: tuple[int, ...], strides: tuple[int, ...], elements: int, storage: str = "FloatStorage") -> bytes:
    """The opcodes of a tensor as torch.save pickles it."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", value) for value in values) + b"t"

    persistent = (
        b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key) + text("cpu") + numbers((elements,))[1:-1] + b"tQ"
    )
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + b"K\x00" + numbers(shape) + numbers(strides) + b"\x89}tR"


def state_dict(*tensors: tuple[str, bytes]) -> bytes:
    """A pickle of a plain dictionary of tensors."""
    return b"\x80\x02}(" + b"".join(text(name) + opcodes for name, opcodes in tensors) + b"u."
