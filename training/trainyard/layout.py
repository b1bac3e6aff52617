"""Which bytes this rank writes: its own part of sharded tensors, its share of replicated ones."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from trainyard import stored_forms


@dataclass(frozen=True)
class Piece:
    """A block of one tensor, as it is stored: `local` stands at `offsets` in a tensor of `global_shape`."""

    key: str
    local: torch.Tensor
    global_shape: tuple[int, ...]
    offsets: tuple[int, ...]
    mark: dict[str, str] = field(default_factory=dict, compare=False)
    """{"as": type} where the type is not the one that is stored."""

    @property
    def nbytes(self) -> int:
        return self.local.numel() * self.local.element_size()

    @property
    def entry(self) -> dict[str, Any]:
        """The manifest's: type and global shape."""
        return {"dtype": dtype_name(self), "shape": list(self.global_shape), **self.mark}


def whole(key: str, tensor: torch.Tensor) -> Piece:
    """All of a plain tensor. Raises ConfigError for one that cannot be saved: of some, reading the bytes would crash."""
    stored_forms.check(key, tensor)
    local = stored_forms.stored(tensor)
    return Piece(key, local, tuple(local.shape), (0,) * local.dim(), stored_forms.mark(tensor.dtype))


def local_piece(key: str, tensor: torch.Tensor) -> Piece:
    """The block that this rank holds: all of a plain tensor, the local shard of a DTensor (maybe without elements)."""
    if not isinstance(tensor, DTensor):
        return whole(key, tensor)
    stored_forms.check(key, tensor)
    (chunk,) = tensor.__create_chunk_list__()  # type: ignore[no-untyped-call]  # the protocol that torch.distributed.checkpoint uses
    local = stored_forms.stored(tensor.to_local())
    more = tuple(local.shape[tensor.dim() :])
    return Piece(key, local, (*tensor.shape, *more), (*chunk.offsets, *(0 for _ in more)), stored_forms.mark(tensor.dtype))


def _holds_first_copy(tensor: DTensor) -> bool:
    """True on one rank of each group of ranks that hold the same block (HSDP)."""
    coordinate = tensor.device_mesh.get_coordinate()
    assert coordinate is not None, "this rank is not part of the tensor's mesh"
    return all(not placement.is_replicate() or at == 0 for placement, at in zip(tensor.placements, coordinate, strict=True))


def own_pieces(tensors: dict[str, torch.Tensor], rank: int, world_size: int, on_rank_0: set[str]) -> list[Piece]:
    """The pieces that this rank writes, every element of the state exactly once over all ranks.

    Replicated tensors go to the rank with the fewest bytes so far, largest first; keys in `on_rank_0` (buffers) go to rank 0. Every
    rank computes the same assignment, without talking.
    """
    pieces, plain = [], []
    for key, tensor in tensors.items():
        if not isinstance(tensor, DTensor):
            plain.append(whole(key, tensor))
        elif _holds_first_copy(tensor):
            piece = local_piece(key, tensor)
            if piece.nbytes or (tensor.numel() == 0 and rank == 0):
                pieces.append(piece)
    owners = spread(plain, world_size, on_rank_0)
    return pieces + [piece for piece in plain if owners[piece.key] == rank]


def spread(pieces: list[Piece], world_size: int, on_rank_0: set[str]) -> dict[str, int]:
    """key -> rank, balanced by bytes."""
    owners = {piece.key: 0 for piece in pieces if piece.key in on_rank_0}
    loads = [
        (sum(piece.nbytes for piece in pieces if piece.key in owners) if rank == 0 else 0, rank) for rank in range(world_size)
    ]
    heapq.heapify(loads)
    for piece in sorted(pieces, key=lambda piece: (-piece.nbytes, piece.key)):
        if piece.key not in owners:
            load, rank = heapq.heappop(loads)
            owners[piece.key] = rank
            heapq.heappush(loads, (load + piece.nbytes, rank))
    return owners


def describe(pieces: list[Piece]) -> dict[str, dict[str, Any]]:
    """The manifest's `tensors` entries by key: type and global shape."""
    return {piece.key: piece.entry for piece in pieces}


def dtype_name(piece: Piece) -> str:
    """What the safetensors header calls the type of the piece's bytes."""
    return stored_forms.DTYPE_NAMES[piece.local.dtype]
