"""The loop of slow_loop.py with a fault in it: `faulty_loop.py STEPS SECONDS_A_STEP FAULT STEP [once]`.

FAULT: memory (rank 1 takes more than its container may have), nan (the loss is no number, then the weights, and the next step raises), batch (rank 0 raises on
the same batch every time), none. `once`: a start that comes after it passes that step.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from slow_loop import train

CHUNK_BYTES = 64 << 20


def change(loss: torch.Tensor, step: int) -> torch.Tensor:
    kind, rank = sys.argv[3], dist.get_rank()
    if kind == "nan" and not torch.isfinite(loss):
        raise FloatingPointError(f"the loss of step {step} is nan")
    if not is_due(step):
        return loss
    if kind == "memory" and rank == 1:
        taken = []
        while True:
            taken.append(bytearray(os.urandom(4096)) * (CHUNK_BYTES // 4096))
    if kind == "batch" and rank == 0:
        raise ValueError("sample 4711 cannot be decoded: invalid start byte 0xff")
    return loss * float("nan") if kind == "nan" else loss


def is_due(step: int) -> bool:
    if step != int(sys.argv[4]):
        return False
    mark = Path(os.environ["TRAINYARD_RUN_DIR"]) / f"fault-of-rank-{dist.get_rank()}"
    if mark.exists() and sys.argv[5:] == ["once"]:
        return False
    mark.touch()
    return True


if __name__ == "__main__":
    train(int(sys.argv[1]), float(sys.argv[2]), change)
