"""A safetensors file: read its header and say what is wrong with it; write one, tensor by tensor.

Format: eight bytes length (little endian), a JSON header, then the tensors' bytes without gaps
(https://github.com/huggingface/safetensors, "Format"). It has no checksum.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensor_reading.layout import ELEMENT_BYTES, Block, LayoutError, Tensor, numbers

MAX_HEADER_BYTES = 100_000_000
"""The bound of the safetensors library itself."""
SHARDING_INFO = "DCP_SHARDING_INFO"


@dataclass(frozen=True)
class SafetensorsFile:
    """What the header says. `tensors` are as this file has them: for a shard, its own blocks."""

    path: Path
    size_bytes: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    offsets: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Where the blocks stand in the whole tensors, for a file that torch.distributed.checkpoint or Trainyard wrote."""


def read_header(path: Path) -> SafetensorsFile:
    """Header, offsets and the file's size, checked against each other. Raises LayoutError or OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or length > min(size - 8, MAX_HEADER_BYTES):
            raise LayoutError(f"its header would have {length} bytes, the file has {size}")
        text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        raise LayoutError("its header is no JSON") from None
    if not isinstance(header, dict):
        raise LayoutError("its header is no JSON object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise LayoutError("its __metadata__ is no table of texts")
    data_begin = 8 + length
    tensors = {name: _tensor(path, name, entry, data_begin) for name, entry in header.items()}
    _check_extent([(tensor.blocks[0].begin, tensor.size_bytes, name) for name, tensor in tensors.items()], data_begin, size)
    return SafetensorsFile(path, size, tensors, metadata, _offsets(metadata, tensors))


def _tensor(path: Path, name: str, entry: Any, data_begin: int) -> Tensor:
    try:
        begin, end = numbers(entry["data_offsets"])
        shape, dtype = numbers(entry["shape"]), entry["dtype"]
        if dtype not in ELEMENT_BYTES:
            raise LayoutError(f"{name[:100]}: dtype {str(dtype)[:20]!r} is not known")
        if end - begin != math.prod(shape) * ELEMENT_BYTES[dtype]:
            raise LayoutError(f"{name[:100]}: {end - begin} bytes for {dtype}{list(shape)}")
    except (KeyError, TypeError, ValueError, LayoutError) as error:
        raise LayoutError(str(error) if isinstance(error, LayoutError) else f"{name[:100]}: its entry cannot be read") from None
    return Tensor(name, dtype, shape, (Block(path, data_begin + begin, shape, (0,) * len(shape)),))


def _check_extent(extents: list[tuple[int, int, str]], data_begin: int, size: int) -> None:
    """The tensors' bytes follow each other and fill the file: neither gap nor overlap nor anything behind them."""
    at = data_begin
    for begin, length, name in sorted(extents):
        if begin != at:
            raise LayoutError(f"{name[:100]}: its bytes begin at {begin}, those before it end at {at}")
        at += length
    if at != size:
        raise LayoutError(f"{size} bytes, its header says {at}")


def _offsets(metadata: dict[str, str], tensors: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    if SHARDING_INFO not in metadata:
        return {}
    try:
        info = json.loads(metadata[SHARDING_INFO])
        offsets = {name: numbers(info[name]["saved_offsets"]) for name in tensors}
    except (ValueError, KeyError, TypeError, RecursionError, LayoutError):
        raise LayoutError(f"its {SHARDING_INFO} cannot be read") from None
    if any(len(offsets[name]) != len(tensor.shape) for name, tensor in tensors.items()):
        raise LayoutError(f"its {SHARDING_INFO} does not fit its tensors")
    return offsets


# --- writing -----------------------------------------------------------------------------------------------------


def header_bytes(tensors: list[Tensor], metadata: dict[str, str]) -> bytes:
    """Length and header of a file that holds these tensors in this order; padded, so that the data is aligned."""
    entries: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.size_bytes],
        }
        at += tensor.size_bytes
    text = json.dumps(entries, ensure_ascii=False).encode("utf-8", "surrogatepass")
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


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
