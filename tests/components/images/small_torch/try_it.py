"""Run with the small torch: one training step, an all-reduce over all ranks, and a checkpoint written and read back.

torchrun --nproc-per-node=2 --hostname localhost --standalone try_it.py FOLDER
"""

from __future__ import annotations

import sys
from importlib.metadata import version

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.nn.parallel import DistributedDataParallel


def main(folder: str) -> None:
    dist.init_process_group("gloo")
    ranks = torch.tensor([float(dist.get_rank())])
    dist.all_reduce(ranks)
    torch.manual_seed(0)
    model = DistributedDataParallel(torch.nn.Linear(8, 8))
    optimizer = torch.optim.AdamW(model.parameters())
    before = model.module.weight.detach().clone()
    loss = model(torch.ones(4, 8)).square().mean()
    loss.backward()
    optimizer.step()
    assert not torch.equal(before, model.module.weight)
    dcp.save({"weight": model.module.weight}, checkpoint_id=folder)
    read = {"weight": torch.zeros_like(model.module.weight)}
    dcp.load(read, checkpoint_id=folder)
    assert torch.equal(read["weight"], model.module.weight)
    if dist.get_rank() == 0:
        print(f"torch {version('torch')}, ranks sum to {ranks.item():g}, cuda {torch.cuda.is_available()}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
