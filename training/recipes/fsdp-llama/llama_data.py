"""The tokens that train_llama.py learns from: a file of token ids, or for a try-out the bytes of Python's own sources."""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

# S tokens of the corpus, B batch, T tokens of a block

TRY_OUT_BYTES = 1 << 20


@dataclass(frozen=True)
class TokenBlocks:
    """Consecutive blocks of T tokens and their successors; block `i` is a function of `i`."""

    tokens_S: Any
    """uint8, uint16 or uint32: a memory map, so that only what is read is in memory."""
    context: int

    def __len__(self) -> int:
        return (len(self.tokens_S) - 1) // self.context

    def batch(self, indices_B: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """(tokens_BT, targets_BT) as int64."""
        starts = [int(index) * self.context for index in indices_B]
        rows = np.stack([self.tokens_S[start : start + self.context + 1] for start in starts]).astype(np.int64)
        rows_BT1 = torch.from_numpy(rows).to(device)
        return rows_BT1[:, :-1], rows_BT1[:, 1:]

    def fingerprint(self) -> str:
        """Names the corpus by its length, its ends and its block size: hashing terabytes at every start would take hours."""
        ends = self.tokens_S[:4096].tobytes() + self.tokens_S[-4096:].tobytes()
        return f"{len(self.tokens_S)}x{self.tokens_S.dtype}/{self.context}/{ends.hex()[:32]}"


def open_tokens(path: str | None, vocabulary: int, context: int) -> TokenBlocks:
    """`path`: little-endian token ids, two bytes each (four where the vocabulary is above 65,536), nothing else.

    Raises ValueError or OSError, worded for the user.
    """
    if path is None:
        text = b"".join(file.read_bytes() for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")))
        blocks = TokenBlocks(np.frombuffer(text[:TRY_OUT_BYTES], np.uint8), context)
    else:
        blocks = TokenBlocks(np.memmap(path, "<u2" if vocabulary <= 65_536 else "<u4", mode="r"), context)
    if not len(blocks):
        raise ValueError(f"{path or 'the standard library'}: fewer than {context + 1} tokens")
    if int(highest := blocks.tokens_S[:TRY_OUT_BYTES].max()) >= vocabulary:
        raise ValueError(f"{path or 'the standard library'}: token {highest} is outside of --vocabulary {vocabulary}")
    return blocks
