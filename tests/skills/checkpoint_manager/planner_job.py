"""Real states on the disk for the calculator's tests: one small model, saved by trainyard.Checkpointer with several optimizers.

torchrun --nproc-per-node 2 planner_job.py FOLDER        # FOLDER/<case>/step_00000001
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
import trainyard
from torch import nn

WIDTH, LAYERS, RANKS = 256, 6, 2
CASES = {
    "adamw-fp32": (torch.float32, lambda parameters: torch.optim.AdamW(parameters)),
    "adamw-bf16": (torch.bfloat16, lambda parameters: torch.optim.AdamW(parameters)),
    "sgd-fp32": (torch.float32, lambda parameters: torch.optim.SGD(parameters)),
    "sgd-momentum-fp32": (torch.float32, lambda parameters: torch.optim.SGD(parameters, momentum=0.9)),
    "adafactor-fp32": (torch.float32, lambda parameters: torch.optim.Adafactor(parameters)),
    "muon-bf16": (torch.bfloat16, lambda parameters: torch.optim.Muon(parameters)),
}


def save_all(folder: Path, rank: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/ranks", rank=rank, world_size=RANKS)
    for case, (dtype, make_optimizer) in CASES.items():
        torch.manual_seed(0)
        # Without biases: muon takes matrices only.
        model = nn.Sequential(*(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(LAYERS))).to(dtype)
        optimizer = make_optimizer(model.parameters())
        checkpointer = trainyard.Checkpointer(folder / case, model=model, optimizer=optimizer)
        checkpointer.restore()
        model(torch.ones(2, WIDTH, dtype=dtype)).square().mean().backward()
        optimizer.step()
        checkpointer.step(1)
        checkpointer.close()
    dist.destroy_process_group()


def main() -> None:
    """Fork the ranks: torch is imported once."""
    torch.set_num_threads(1)  # no thread pool: a fork copies the calling thread only
    torch.optim.SGD(nn.Linear(1, 1).parameters()).step()  # what torch imports at first use: once, not in each rank
    ranks = []
    for rank in range(RANKS):
        if pid := os.fork():
            ranks.append(pid)
        else:
            save_all(Path(sys.argv[1]), rank)
            return
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0 for pid in ranks))


if __name__ == "__main__":
    main()
