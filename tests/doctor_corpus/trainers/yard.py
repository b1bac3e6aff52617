"""A small model with Trainyard's checkpoints."""

import time

import torch
import torch.distributed as dist
import trainyard
from torch import nn
from torch.nn.parallel import DistributedDataParallel

STEPS = 40


class Sequences(torch.utils.data.Dataset):
    def __len__(self):
        return 4096

    def __getitem__(self, i):
        # <sample>
        return torch.randn(16, generator=torch.Generator().manual_seed(i))


def main():
    world = trainyard.init_distributed()
    torch.manual_seed(3)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 1)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = trainyard.ResumableLoader(Sequences(), batch_size_per_rank=4, seed=3)
    checkpointer = trainyard.Checkpointer(model=model, optimizer=optimizer, data=loader, total_steps=STEPS)
    step = checkpointer.restore()
    while step < STEPS:
        for x in loader:
            # <loop>
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            # <step>
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            checkpointer.step(step, loss=loss.item())
            # <after>
            time.sleep(0.02)
            if step == STEPS:
                break
    checkpointer.close()
    if world.world_size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
