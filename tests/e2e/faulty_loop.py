"""The loop of slow_loop.py with a fault in it: `faulty_loop.py STEPS SECONDS_A_STEP FAULT STEP [once]`.

FAULT: memory (rank 1 takes more than its container may have), nan (the loss is no number),
batch (rank 0 raises on the same batch every time), none. `once`: a start that comes after it passes that step.
"""

from __future__ import annotations

import math
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist
import trainyard
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset

CHUNK_BYTES = 64 << 20


def fault(kind: str, loss: torch.Tensor, rank: int) -> torch.Tensor:
    if kind == "memory" and rank == 1:
        taken = []
        while True:
            taken.append(bytearray(os.urandom(4096)) * (CHUNK_BYTES // 4096))
    if kind == "batch" and rank == 0:
        raise ValueError("sample 4711 cannot be decoded: invalid start byte 0xff")
    return loss * float("nan") if kind == "nan" else loss


def is_due(step: int) -> bool:
    at, once = int(sys.argv[4]), sys.argv[5:] == ["once"]
    if step + 1 != at:
        return False
    mark = Path(os.environ["TRAINYARD_RUN_DIR"]) / f"fault-of-rank-{dist.get_rank()}"
    if once and mark.exists():
        return False
    mark.touch()
    return True


def main() -> None:
    steps, step_s, kind = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    trainyard.init_distributed()
    torch.manual_seed(7)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = trainyard.ResumableLoader(TensorDataset(torch.linspace(-1, 1, 101)[:, None]), batch_size_per_rank=4, seed=3)
    checkpointer = trainyard.Checkpointer(model=model, optimizer=optimizer, data=loader, total_steps=steps)
    step = checkpointer.restore()
    while step < steps:
        for (x_B1,) in loader:
            loss = (model(x_B1) - torch.sin(3 * x_B1)).square().mean()
            if is_due(step):
                loss = fault(kind, loss, dist.get_rank())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            dist.all_reduce(told := loss.detach().clone())
            time.sleep(step_s)
            step += 1
            if not math.isfinite(told.item()):
                raise FloatingPointError(f"the loss of step {step} is {told.item()}")
            checkpointer.step(step, loss=told.item())
            if step == steps:
                break
    checkpointer.close()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
