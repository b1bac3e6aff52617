"""Starts its own processes (torch.multiprocessing): no launcher."""

import os
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

# <imports>


def work(rank, world, port):
    # <begin>
    told = {"init_method": f"tcp://127.0.0.1:{port}", "rank": rank, "world_size": world}
    dist.init_process_group("gloo", timeout=timedelta(seconds=int(os.environ.get("PG_TIMEOUT", "20"))), **told)
    net = nn.Linear(64, 8)
    sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for batch in range(1, 41):
        images = torch.randn(16, 64, generator=torch.Generator().manual_seed(batch * world + rank))
        # <step>
        loss = net(images).square().mean()
        sgd.zero_grad()
        loss.backward()
        for parameter in net.parameters():
            dist.all_reduce(parameter.grad)
            parameter.grad /= world
        sgd.step()
        if rank == 0 and batch % 4 == 0:
            print(f"Epoch: [0][{batch:3d}/40]  Loss {loss.item():.4e} ({loss.item():.4e})  Acc@1 {batch / 2:5.2f}", flush=True)
        time.sleep(0.02)
    dist.barrier()
    if rank == 0:
        print(" * Acc@1 20.000 Acc@5 41.250", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    processes, world, port = (int(word) for word in sys.argv[1:])
    mp.start_processes(work, args=(world, port), nprocs=processes, start_method="fork")
