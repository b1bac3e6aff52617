"""The seam between the checkpointer and what keeps its snapshots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch

from trainyard.layout import Piece


@dataclass(frozen=True)
class Block:
    """A block of a saved tensor: `shape` elements at `offsets`, `begin` bytes into the part `name` of its step."""

    name: str
    begin: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    offsets: tuple[int, ...]


class SavedStep(Protocol):
    """One step, opened by one rank: its parts fit together, and what `verify` has passed is what was saved.

    Methods raise DamagedError for what is not what was saved, OSError or MemoryError for what cannot be read, which proves nothing.
    """

    @property
    def where(self) -> str:
        """For people: the place and the step."""

    @property
    def name(self) -> str:
        """For people: the step."""

    @property
    def manifest(self) -> dict[str, Any]:
        """What the step is: the members that shared-docs/checkpoints.md lists."""

    @property
    def state(self) -> dict[str, Any]:
        """What is no tensor, verified."""

    @property
    def blocks(self) -> dict[str, list[Block]]:
        """key -> the blocks that make up the tensor."""

    def verify(self, pieces: list[Piece] | None = None) -> None:
        """Prove every byte that these pieces are filled from; None: all of the step."""

    def read_into(self, block: Block, tensor: torch.Tensor) -> None:
        """The block's bytes, straight into a contiguous CPU tensor of its shape."""
