"""Fill tensors of any layout from the blocks of a saved step, and compare what was saved with what is wanted."""

from __future__ import annotations

from typing import Any

import torch

from trainyard import stored_forms
from trainyard.errors import DamagedError, MismatchError
from trainyard.layout import Piece
from trainyard.store import Block, SavedStep


def like(checkpoint: SavedStep, key: str) -> tuple[torch.dtype, tuple[int, ...]]:
    """(dtype, global shape) of the tensor that was saved. Raises DamagedError for an entry that no writer writes."""
    try:
        return stored_forms.logical(checkpoint.manifest["tensors"][key])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"{checkpoint.name}: the manifest's entry of {key} cannot be read") from error


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


def fill(checkpoint: SavedStep, piece: Piece) -> None:
    """Copy the saved values into the piece's tensor, from however many blocks they stand in."""
    for block in checkpoint.blocks[piece.key]:
        common = overlap(piece, block)
        if common is None:
            continue
        same_block = (tuple(piece.local.shape), piece.offsets) == (block.shape, block.offsets)
        if same_block and piece.local.is_contiguous() and piece.local.device.type == "cpu":
            checkpoint.read_into(block, piece.local)  # the usual case: same layout as saved, no copy in between
            continue
        loaded = torch.empty(block.shape, dtype=block.dtype)
        checkpoint.read_into(block, loaded)
        once = _once(piece.local)
        piece.local[common[0]][once].copy_(loaded[common[1]][once])


def _once(tensor: torch.Tensor) -> tuple[slice, ...]:
    """The part of an expanded tensor that is memory of its own; all of any other."""
    return tuple(
        slice(0, 1) if stride == 0 and size > 1 else slice(None)
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )


def check_expanded(checkpoint: SavedStep, pieces: list[Piece]) -> None:
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


def matches(checkpoint: SavedStep, piece: Piece) -> bool:
    """The piece's tensor holds exactly the saved bytes; one block is in memory at a time."""
    for block in checkpoint.blocks[piece.key]:
        common = overlap(piece, block)
        if common is None:
            continue
        loaded = torch.empty(block.shape, dtype=block.dtype)
        checkpoint.read_into(block, loaded)
        if not _same_bytes(piece.local[common[0]].detach().to("cpu"), loaded[common[1]]):
            return False
    return True


def check_tensors(checkpoint: SavedStep, wanted: dict[str, torch.Tensor]) -> None:
    """Same names, dtypes and global shapes. Raises MismatchError that names the first differences."""
    found = differences(checkpoint.manifest["tensors"], wanted)
    if found:
        more = f" (and {len(found) - 5} more)" if len(found) > 5 else ""
        way_out = "for a new run take another folder (TRAINYARD_CHECKPOINTS), or restore 'none', which sets these steps aside"
        raise MismatchError(f"{checkpoint.where} is of another model: {'; '.join(sorted(found)[:5])}{more}; {way_out}")


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
