"""Read a committed checkpoint: verify the bytes, find the blocks, fill tensors of any layout."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trainyard import checkpoint_format as fmt
from trainyard import checkpoint_judgement as judgement
from trainyard import stored_forms
from trainyard.errors import MismatchError
from trainyard.layout import Piece
from trainyard.patience import PATIENT, Patience


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
    """A step whose parts fit together; its files are verified by `verify`."""

    step: judgement.Step
    blocks: dict[str, list[Block]]
    """key -> the blocks that make up the tensor."""
    patience: Patience
    """For every later read of its files."""

    @property
    def folder(self) -> Path:
        return self.step.folder

    @property
    def manifest(self) -> dict[str, Any]:
        return self.step.manifest

    @property
    def state(self) -> dict[str, Any]:
        return self.step.state

    def like(self, key: str) -> tuple[torch.dtype, tuple[int, ...]]:
        """(dtype, global shape) of the tensor that was saved. Raises DamagedError for an entry that no writer writes."""
        try:
            return stored_forms.logical(self.manifest["tensors"][key])
        except (KeyError, TypeError, ValueError) as error:
            raise fmt.DamagedError(f"{self.folder.name}: the manifest's entry of {key} cannot be read") from error


def open_checkpoint(folder: Path, owner: fmt.Owner | None = None, patience: Patience = PATIENT) -> Checkpoint:
    """Everything but the bytes of the tensors, judged as everywhere. `owner` as for `read_manifest`.

    Here and below: raises DamagedError, or what `Patience.read` raises.
    """
    step = patience.read(partial(judgement.open_step, folder, owner), folder)
    blocks: dict[str, list[Block]] = {}
    for key, found in step.blocks.items():
        dtype = step.manifest["tensors"][key]["dtype"]
        if dtype not in stored_forms.DTYPES:
            raise fmt.DamagedError(f"{folder.name}: {fmt.quoted(key)} is of type {dtype}, which the runtime does not save")
        blocks[key] = [
            Block(folder / name, each.begin, stored_forms.DTYPES[dtype], each.shape, each.offsets) for name, each in found
        ]
    return Checkpoint(step, blocks, patience)


def files_for(checkpoint: Checkpoint, pieces: list[Piece]) -> set[str]:
    """The files that hold any element of these pieces, and those that hold no element of any tensor (state.json)."""
    blocks = [block for found in checkpoint.blocks.values() for block in found]
    used = set(checkpoint.manifest["files"]) - {block.path.name for block in blocks if math.prod(block.shape)}
    for piece in pieces:
        used |= {block.path.name for block in checkpoint.blocks[piece.key] if overlap(piece, block) is not None}
    return used


def verify(checkpoint: Checkpoint, names: set[str]) -> None:
    """Read every byte of these files and compare with the manifest."""
    for name in sorted(names):
        checkpoint.patience.read(partial(judgement.verify_files, checkpoint.step, [name]), checkpoint.folder / name)


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
            _read_into(checkpoint, block, piece.local)  # the usual case: same layout as saved, no copy in between
            continue
        loaded = torch.empty(block.shape, dtype=block.dtype)
        _read_into(checkpoint, block, loaded)
        once = _once(piece.local)
        piece.local[common[0]][once].copy_(loaded[common[1]][once])


def _once(tensor: torch.Tensor) -> tuple[slice, ...]:
    """The part of an expanded tensor that is memory of its own; all of any other."""
    return tuple(
        slice(0, 1) if stride == 0 and size > 1 else slice(None)
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )


def check_expanded(checkpoint: Checkpoint, pieces: list[Piece]) -> None:
    """What goes into an expanded tensor has one value along each expanded dimension. Raises MismatchError."""
    for piece in pieces:
        if _once(piece.local) == (slice(None),) * piece.local.dim():
            continue
        dense = torch.empty_like(piece.local, memory_format=torch.contiguous_format)
        fill(checkpoint, Piece(piece.key, dense, piece.global_shape, piece.offsets))
        if not _same_bytes(dense, dense[_once(piece.local)].expand(dense.shape)):
            raise MismatchError(
                f"{piece.key} is expanded here (one value for many places), and has many values in the checkpoint"
            )


def _same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.contiguous().reshape(-1).view(torch.uint8), other.contiguous().reshape(-1).view(torch.uint8))


def _read_into(checkpoint: Checkpoint, block: Block, tensor: torch.Tensor) -> None:
    """Read a block's bytes straight into a contiguous CPU tensor of its shape."""
    checkpoint.patience.read(partial(_read_once, block, tensor), block.path)


def _read_once(block: Block, tensor: torch.Tensor) -> None:
    view = tensor.detach().reshape(-1).view(torch.uint8).numpy().data
    with block.path.open("rb", buffering=0) as file:
        file.seek(block.begin)
        while view:
            count = file.readinto(view)
            if not count:
                raise fmt.DamagedError(f"{block.path.name}: it became shorter while it was read")
            view = view[count:]


def matches(checkpoint: Checkpoint, piece: Piece) -> bool:
    """The piece's tensor holds exactly the saved bytes; one block is in memory at a time."""
    for block in checkpoint.blocks[piece.key]:
        common = overlap(piece, block)
        if common is None:
            continue
        loaded = torch.empty(block.shape, dtype=block.dtype)
        _read_into(checkpoint, block, loaded)
        if not _same_bytes(piece.local[common[0]].detach().to("cpu"), loaded[common[1]]):
            return False
    return True


def check_tensors(checkpoint: Checkpoint, wanted: dict[str, torch.Tensor]) -> None:
    """Same names, dtypes and global shapes. Raises MismatchError that names the first differences."""
    found = differences(checkpoint.manifest["tensors"], wanted)
    if found:
        more = f" (and {len(found) - 5} more)" if len(found) > 5 else ""
        way_out = "for a new run take another folder (TRAINYARD_CHECKPOINTS), or restore 'none', which sets these steps aside"
        raise MismatchError(f"{checkpoint.folder} is of another model: {'; '.join(sorted(found)[:5])}{more}; {way_out}")


def differences(saved: dict[str, Any], wanted: dict[str, torch.Tensor]) -> list[str]:
    """In words, where a manifest's `tensors` and these differ in names, dtypes or global shapes."""
    found = [f"{key} is not in the checkpoint" for key in wanted if key not in saved]
    found += [f"{key} is only in the checkpoint" for key in saved if key not in wanted]
    for key in wanted.keys() & saved.keys():
        here, there = _named(wanted[key]), _entry_text(saved[key])
        if here != there:
            found.append(f"{key} is {here}, in the checkpoint {there}")
    return found


def _named(tensor: torch.Tensor) -> str:
    try:
        return _entry_text(stored_forms.entry(tensor.dtype, tuple(tensor.shape)))
    except KeyError:
        return f"{tensor.dtype}{list(tensor.shape)}"


def _entry_text(entry: dict[str, Any]) -> str:
    mark = f" (as {entry['as']})" if "as" in entry else ""
    return f"{entry['dtype']}{entry['shape']}{mark}"
