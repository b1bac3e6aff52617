"""What the examples share: their options, and a data set that is made on the spot."""

from __future__ import annotations

import argparse
import os

import torch
from torch.utils.data import Dataset

SAMPLES, TOKENS, VOCABULARY = 84, 16, 32


class Sequences(Dataset[dict[str, torch.Tensor]]):
    """Number sequences with a rule to learn; sample `i` is a function of `i`.

    With `seen`, the index of each sample that is read is appended to a file, one a line, so that you can see what a resumed run
    reads; each rank has a file of its own.
    """

    def __init__(self, samples: int = SAMPLES, seen: str | None = None) -> None:
        self._samples = samples
        rank = os.environ.get("RANK", "0")
        self._seen = open(f"{seen}-rank{rank}", "a", buffering=1) if seen else None  # noqa: SIM115 - open as long as the process

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if self._seen:
            self._seen.write(f"{index}\n")
        tokens_T = (index + torch.arange(TOKENS) * (1 + index % 5)) % VOCABULARY
        return {"input_ids": tokens_T, "labels": tokens_T}


def parse_options(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30, help="optimizer steps to do (30)")
    parser.add_argument("--seed", type=int, default=7, help="of the weights, the dropout and the order of the samples (7)")
    parser.add_argument("--seen", metavar="FILE", help="append the index of each sample read to FILE-rank0, FILE-rank1, ...")
    return parser.parse_args()
