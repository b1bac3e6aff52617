"""A loop as in training/examples/plain_loop.py that takes its time and does next to no work: for jobs that are to be killed.

`torchrun --nproc-per-node 2 tests/e2e/slow_loop.py STEPS SECONDS_A_STEP`
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
import trainyard
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset


def train(steps: int, step_s: float, change: Callable[[torch.Tensor, int], torch.Tensor] = lambda loss, step: loss) -> None:
    """`change`: what becomes of the loss (a scalar) of the step with this number, counted from 1."""
    trainyard.init_distributed()
    torch.manual_seed(7)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(1, 16), nn.Dropout(0.2), nn.Tanh(), nn.Linear(16, 1)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    loader = trainyard.ResumableLoader(TensorDataset(torch.linspace(-1, 1, 101)[:, None]), batch_size_per_rank=4, seed=3)
    checkpointer = trainyard.Checkpointer(model=model, optimizer=optimizer, data=loader, total_steps=steps)
    torch.manual_seed(7 + dist.get_rank())  # each rank drops out other units
    step = checkpointer.restore()
    while step < steps:
        for (x_B1,) in loader:
            loss = change((model(x_B1) - torch.sin(3 * x_B1)).square().mean(), step + 1)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            dist.all_reduce(told := loss.detach().clone())
            time.sleep(step_s)
            step += 1
            checkpointer.step(step, loss=told.item())
            if step == steps:
                break
    checkpointer.close()
    dist.destroy_process_group()


if __name__ == "__main__":
    train(int(sys.argv[1]), float(sys.argv[2]))
