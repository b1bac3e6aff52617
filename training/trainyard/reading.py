"""Read a committed checkpoint: verify the bytes, find the blocks, fill tensors of any layout."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainyard import checkpoint_format as fmt
from trainyard.errors import MismatchError
from trainyard.layout import DTYPE_NAMES, DTYPES, Piece


@dataclass(frozen=True)
class Block:
    """A block of a saved tensor: `shape` elements at `offsets`, `begin` bytes into `path`."""

    path: Path
    begin: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A committed step whose manifest verifies; its files are verified by `verify`."""

    folder: Path
    manifest: dict[str, Any]
    blocks: dict[str, list[Block]]
    """key -> the blocks that make up the tensor."""

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self.manifest["tensors"][key]["shape"])

    def dtype(self, key: str) -> torch.dtype:
        return DTYPES[self.manifest["tensors"][key]["dtype"]]


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read manifest and shard headers. Raises DamagedError or OSError."""
    manifest = fmt.read_manifest(folder)
    fmt.check_sizes(folder, manifest)
    blocks: dict[str, list[Block]] = {}
    for name in manifest["files"]:
        if name.endswith(".safetensors"):
            for key, block in _shard_blocks(folder / name):
                blocks.setdefault(key, []).append(block)
    if set(blocks) != set(manifest["tensors"]):
        raise fmt.DamagedError(f"{folder.name}: the shards do not hold the tensors that the manifest lists")
    checkpoint = Checkpoint(folder, manifest, blocks)
    for key, found in blocks.items():
        if not all(_fits(block, checkpoint.dtype(key), checkpoint.shape(key)) for block in found):
            raise fmt.DamagedError(f"{folder.name}: a block of {key} does not fit the tensor that the manifest lists")
    return checkpoint


def _fits(block: Block, dtype: torch.dtype, shape: tuple[int, ...]) -> bool:
    inside = len(block.shape) == len(shape) and all(
        map(lambda at, size, end: at + size <= end, block.offsets, block.shape, shape)
    )
    return inside and block.dtype == dtype


def _shard_blocks(path: Path) -> list[tuple[str, Block]]:
    with path.open("rb") as file:
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise fmt.DamagedError(f"{path.name}: its header is longer than the file")
            header = json.loads(file.read(length))
            offsets = json.loads(header.pop("__metadata__")["DCP_SHARDING_INFO"])
            return [(key, _block(path, 8 + length, entry, offsets[key]["saved_offsets"])) for key, entry in header.items()]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
            raise fmt.DamagedError(f"{path.name}: its header cannot be read ({type(error).__name__})") from error


def _block(path: Path, data_begin: int, entry: dict[str, Any], offsets: list[int]) -> Block:
    """Raises ValueError, KeyError or TypeError for what no writer writes: a header is read before its file is verified."""
    begin, end = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), DTYPES[entry["dtype"]]
    if not all(type(number) is int and number >= 0 for number in (begin, end, *shape, *offsets)):
        raise ValueError("not a block")
    if len(shape) != len(offsets) or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError("not a block")
    return Block(path, data_begin + begin, dtype, shape, tuple(offsets))


def files_for(checkpoint: Checkpoint, pieces: list[Piece]) -> set[str]:
    """The files that hold any element of these pieces, and the state file.

    Raises DamagedError unless they hold every element: a header that was changed could hide a block, and with it its file.
    """
    used = {fmt.STATE}
    for piece in pieces:
        covered = 0
        for block in checkpoint.blocks[piece.key]:
            common = overlap(piece, block)
            if common is not None:
                used.add(block.path.name)
                covered += math.prod(part.stop - part.start for part in common[0])
        if covered != piece.local.numel():
            raise fmt.DamagedError(f"{checkpoint.folder.name}: the shards do not hold all of {piece.key}")
    return used


def verify(checkpoint: Checkpoint, names: set[str]) -> None:
    """Read every byte of these files and compare with the manifest. Raises DamagedError or OSError."""
    for name in sorted(names):
        fmt.verify_file(checkpoint.folder / name, checkpoint.manifest["files"][name])


def overlap(piece: Piece, block: Block) -> tuple[tuple[slice, ...], tuple[slice, ...]] | None:
    """(where in the piece, where in the block) their common elements stand; None when there are none."""
    in_piece, in_block = [], []
    for size, start, other_size, other_start in zip(piece.local.shape, piece.offsets, block.shape, block.offsets, strict=True):
        low, high = max(start, other_start), min(start + size, other_start + other_size)
        if low >= high:
            return None
        in_piece.append(slice(low - start, high - start))
        in_block.append(slice(low - other_start, high - other_start))
    return tuple(in_piece), tuple(in_block)


def fill(checkpoint: Checkpoint, piece: Piece) -> None:
    """Copy the saved values into the piece's tensor, from however many blocks they stand in."""
    for block in checkpoint.blocks[piece.key]:
        common = overlap(piece, block)
        if common is None:
            continue
        same_block = (tuple(piece.local.shape), piece.offsets) == (block.shape, block.offsets)
        if same_block and piece.local.is_contiguous() and piece.local.device.type == "cpu":
            _read_into(block, piece.local)  # the usual case: same layout as saved, no copy in between
            continue
        loaded = torch.empty(block.shape, dtype=block.dtype)
        _read_into(block, loaded)
        piece.local[common[0]].copy_(loaded[common[1]])


def _read_into(block: Block, tensor: torch.Tensor) -> None:
    """Read a block's bytes straight into a contiguous CPU tensor of its shape."""
    view = tensor.detach().reshape(-1).view(torch.uint8).numpy().data
    with block.path.open("rb", buffering=0) as file:
        file.seek(block.begin)
        while view:
            count = file.readinto(view)
            if not count:
                raise fmt.DamagedError(f"{block.path.name}: it became shorter while it was read")
            view = view[count:]


def check_tensors(checkpoint: Checkpoint, wanted: dict[str, torch.Tensor]) -> None:
    """Same names, dtypes and global shapes. Raises MismatchError that names the first differences."""
    saved = checkpoint.manifest["tensors"]
    differences = [f"{key} is not in the checkpoint" for key in wanted if key not in saved]
    differences += [f"{key} is only in the checkpoint" for key in saved if key not in wanted]
    for key in wanted.keys() & saved.keys():
        here = (DTYPE_NAMES.get(wanted[key].dtype, str(wanted[key].dtype)), list(wanted[key].shape))
        there = (saved[key]["dtype"], saved[key]["shape"])
        if here != there:
            differences.append(f"{key} is {here[0]}{here[1]}, in the checkpoint {there[0]}{there[1]}")
    if differences:
        more = f" (and {len(differences) - 5} more)" if len(differences) > 5 else ""
        way_out = "for a new run take another folder (TRAINYARD_CHECKPOINTS), or restore 'none', which sets these steps aside"
        raise MismatchError(f"{checkpoint.folder} is of another model: {'; '.join(sorted(differences)[:5])}{more}; {way_out}")
