"""Which bytes this rank writes: its own part of sharded tensors, its share of replicated ones."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from trainyard.errors import ConfigError

DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


@dataclass(frozen=True)
class Piece:
    """A block of one tensor: `local` stands at `offsets` in a tensor of `global_shape`."""

    key: str
    local: torch.Tensor
    global_shape: tuple[int, ...]
    offsets: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return self.local.numel() * self.local.element_size()


def whole(key: str, tensor: torch.Tensor) -> Piece:
    """Raises ConfigError for a tensor that is a shell around others: it has no bytes of its own, and reading them would crash."""
    is_shell: bool = is_traceable_wrapper_subclass(tensor)
    if is_shell:
        kind = type(tensor).__name__
        raise ConfigError(f"{key}: a {kind} cannot be saved; keep this state in plain tensors (quantized optimizers do not)")
    return Piece(key, tensor, tuple(tensor.shape), (0,) * tensor.dim())


def local_piece(key: str, tensor: torch.Tensor) -> Piece:
    """The block that this rank holds: all of a plain tensor, the local shard of a DTensor (maybe without elements)."""
    if not isinstance(tensor, DTensor):
        return whole(key, tensor)
    if any(placement.is_partial() for placement in tensor.placements):
        raise ConfigError(f"{key}: a DTensor with a pending reduction cannot be saved")
    (chunk,) = tensor.__create_chunk_list__()  # type: ignore[no-untyped-call]  # the protocol that torch.distributed.checkpoint uses
    local = whole(key, tensor.to_local()).local
    return Piece(key, local, tuple(tensor.shape), tuple(chunk.offsets))


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
    """The manifest's `tensors` entries: dtype and global shape by key."""
    return {piece.key: {"dtype": dtype_name(piece), "shape": list(piece.global_shape)} for piece in pieces}


def dtype_name(piece: Piece) -> str:
    if piece.local.dtype not in DTYPE_NAMES:
        raise ConfigError(f"{piece.key}: tensors of {piece.local.dtype} cannot be stored as safetensors")
    return DTYPE_NAMES[piece.local.dtype]
