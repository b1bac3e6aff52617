"""A safetensors file: read its header and say what is wrong with it; write one, tensor by tensor.

Format: eight bytes length (little endian), a JSON header, then the tensors' bytes without gaps
(https://github.com/huggingface/safetensors, "Format"). It has no checksum.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tensor_reading.layout import ELEMENT_BYTES, LayoutError, Tensor, numbers
from tensor_reading.safetensors_header import METADATA, Table, parse, without_repeats

MAX_HEADER_BYTES = 100_000_000
"""The bound of the safetensors library itself."""
SHARDING_INFO = "DCP_SHARDING_INFO"


@dataclass(frozen=True)
class SafetensorsFile:
    """What the header says. `tensors` are as this file has them: for a shard, its own blocks."""

    path: Path
    size_bytes: int
    tensors: Table
    metadata: dict[str, str] = field(default_factory=dict)
    offsets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Where the blocks stand in the whole tensors, for a file that torch.distributed.checkpoint or Trainyard wrote."""


def read_header(path: Path) -> SafetensorsFile:
    """Header, offsets and the file's size, checked against each other. Raises LayoutError (NotReadError beyond the bounds) or OSError."""
    status = path.stat()
    return _read_header(path, status.st_size, (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns))


@lru_cache(maxsize=1)
def _read_header(path: Path, size: int, _mark: tuple[int, ...]) -> SafetensorsFile:
    """A verb asks what a file is, and then what is in it."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or length > min(size - 8, MAX_HEADER_BYTES):
            raise LayoutError(f"its header would have {length} bytes, the file has {size}")
        text = file.read(length)
    tensors, metadata = parse(text, path, 8 + length)
    del text
    tensors.check_extent(size)
    return SafetensorsFile(path, size, tensors, metadata, _offsets(metadata, tensors))


def _offsets(metadata: dict[str, str], tensors: Table) -> dict[str, tuple[int, ...]]:
    if SHARDING_INFO not in metadata:
        return {}
    try:
        info = json.loads(metadata[SHARDING_INFO], object_pairs_hook=without_repeats)
        offsets = {tensor.name: numbers(info[tensor.name]["saved_offsets"]) for tensor in tensors.values()}
    except (ValueError, KeyError, TypeError, RecursionError, LayoutError):
        raise LayoutError(f"its {SHARDING_INFO} cannot be read") from None
    if any(len(offsets[tensor.name]) != len(tensor.shape) for tensor in tensors.values()):
        raise LayoutError(f"its {SHARDING_INFO} does not fit its tensors")
    return offsets


# --- writing -----------------------------------------------------------------------------------------------------


def header_bytes(tensors: list[Tensor], metadata: dict[str, str]) -> bytes:
    """Length and header of a file that holds these tensors in this order; padded, so that the data is aligned. Raises LayoutError."""
    entries: dict[str, Any] = {METADATA: metadata}
    at = 0
    for tensor in tensors:
        if problem := name_problem(tensor.name):
            raise LayoutError(f"{tensor.name[:100]!r}: {problem}")
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.size_bytes],
        }
        at += tensor.size_bytes
    if len(entries) != len(tensors) + 1:
        raise LayoutError("two tensors have the same name")
    text = json.dumps(entries, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MAX_HEADER_BYTES:
        raise LayoutError(f"its header would have {len(text)} bytes, and readers take at most {MAX_HEADER_BYTES}")
    return len(text).to_bytes(8, "little") + text


def name_problem(name: str) -> str | None:
    """Why no reader could take a file with a tensor of this name; None if it can."""
    if name == METADATA:
        return "a name that the format keeps for itself"
    return "a name that is not Unicode" if any("\ud800" <= letter <= "\udfff" for letter in name) else None


def file_order(tensors: list[Tensor]) -> list[Tensor]:
    """Widest element first, so that every tensor is aligned; then by name."""
    return sorted(tensors, key=lambda tensor: (-ELEMENT_BYTES[tensor.dtype], tensor.name))


def write_file(path: Path, tensors: list[Tensor], metadata: dict[str, str]) -> int:
    """Write and fsync a new file, one tensor in memory at a time; returns its bytes. Raises FileExistsError, LayoutError, OSError."""
    from tensor_reading.values import tensor_bytes

    ordered = file_order(tensors)
    with path.open("xb") as file:
        file.write(header_bytes(ordered, metadata))
        for tensor in ordered:
            for piece in tensor_bytes(tensor):
                file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        return file.tell()
