import os
import time
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data import DataLoader, Dataset, DistributedSampler

# <imports>


class Tokens(Dataset):
    """Documents of 32 tokens."""

    def __init__(self, documents):
        self.documents = documents
        # <data>

    def __len__(self):
        return self.documents

    def __getitem__(self, i):
        # <sample>
        generator = torch.Generator().manual_seed(i)
        x = torch.randn(32, generator=generator)
        return x, x.sum().remainder(2).long()


def main():
    dist.init_process_group("gloo", timeout=timedelta(seconds=int(os.environ.get("PG_TIMEOUT", "20"))))
    rank, world = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(1234)
    # <setup>
    model = DDP(nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 2)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    # <model>
    dataset = Tokens(160 * world)
    sampler = DistributedSampler(dataset, shuffle=False)
    loader = DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=int(os.environ.get("WORKERS", "0")))
    begin = time.time()
    for step, (x, y) in enumerate(loader, 1):
        # <step>
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        # <after>
        if rank == 0:
            print(f"step {step:5d}/40 | loss {loss.item():.4f} | lr 3.00e-04 | {time.time() - begin:.1f}s", flush=True)
        time.sleep(0.02)
    # <end>
    dist.barrier()
    if rank == 0:
        print("training done", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
