"""A consistent copy of this rank's pieces in memory that is reused: the only thing a training step waits for.

The buffer has the layout of the safetensors file that will be written from it (https://github.com/huggingface/safetensors, "Format"):
tensors back to back, widest element first, so that every one of them is aligned.
"""

from __future__ import annotations

import json
import mmap
import struct
from dataclasses import dataclass, field

import torch

from trainyard.layout import Piece, dtype_name

HEADER_ALIGNMENT_BYTES = 8


@dataclass
class Slot:
    """One snapshot's memory. Grows when the state does; never shrinks."""

    _memory: mmap.mmap | None = None
    _pinned: torch.Tensor | None = None
    _layout: list[tuple[str, torch.dtype, tuple[int, ...]]] = field(default_factory=list)
    _views: list[torch.Tensor] = field(default_factory=list)
    header: bytes = b""
    """safetensors header of the last snapshot, its eight length bytes included."""
    body: memoryview = field(default_factory=lambda: memoryview(b""))
    """The tensors' bytes of the last snapshot."""

    def prepare(self, pieces: list[Piece]) -> list[Piece]:
        """Make room for `pieces`; returns them in the order in which they stand in the buffer."""
        ordered = sorted(pieces, key=lambda piece: (-piece.local.element_size(), piece.key))
        layout = [(piece.key, piece.local.dtype, tuple(piece.local.shape)) for piece in ordered]
        if layout != self._layout or not self.header:
            self._views = self._carve(ordered)
            self._layout = layout
        self.header = _header(ordered)  # the offsets may change while shapes stay
        return ordered

    def copy(self, pieces: list[Piece]) -> None:
        """Copy the pieces' values as they are now."""
        ordered = self.prepare(pieces)
        cuda = False
        for view, piece in zip(self._views, ordered, strict=True):
            cuda = cuda or piece.local.is_cuda
            view.copy_(piece.local, non_blocking=True)
        if cuda:
            torch.cuda.current_stream().synchronize()

    def view_of(self) -> dict[str, torch.Tensor]:
        """key -> the snapshot's tensor, for checks on it."""
        return {key: view for (key, _, _), view in zip(self._layout, self._views, strict=True)}

    def _carve(self, ordered: list[Piece]) -> list[torch.Tensor]:
        size = sum(piece.nbytes for piece in ordered)
        memory = self._allocate(size, pinned=any(piece.local.is_cuda for piece in ordered))
        self.body = memory.numpy().data[:size]
        views, position = [], 0
        for piece in ordered:
            raw = memory[position : position + piece.nbytes]
            views.append(raw.view(piece.local.dtype).view(piece.local.shape))
            position += piece.nbytes
        return views

    def _allocate(self, size: int, *, pinned: bool) -> torch.Tensor:
        if pinned:
            if self._pinned is None or self._pinned.numel() < size:
                self._pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
            return self._pinned
        if self._memory is None or len(self._memory) < size:
            self._memory = mmap.mmap(-1, max(size, 1))
            if hasattr(mmap, "MADV_HUGEPAGE"):
                # First touch of fresh 4 KiB pages runs at 0.5-1.75 GB/s, a tenth of a warm copy.
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        return torch.frombuffer(self._memory, dtype=torch.uint8)

    def prefault(self) -> None:
        """Touch every page once, so that the first snapshot is as fast as the later ones."""
        if self.body.nbytes:
            torch.frombuffer(self.body, dtype=torch.uint8).zero_()


def _header(ordered: list[Piece]) -> bytes:
    entries: dict[str, object] = {}
    position = 0
    for piece in ordered:
        end = position + piece.nbytes
        entries[piece.key] = {"dtype": dtype_name(piece), "shape": list(piece.local.shape), "data_offsets": [position, end]}
        position = end
    offsets = {piece.key: {"saved_offsets": list(piece.offsets)} for piece in ordered}
    entries["__metadata__"] = {"format": "pt", "DCP_VERSION": "1.0", "DCP_SHARDING_INFO": json.dumps(offsets)}
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % HEADER_ALIGNMENT_BYTES)
    return struct.pack("<Q", len(text)) + text
