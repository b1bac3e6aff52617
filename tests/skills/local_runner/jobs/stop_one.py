"""Two ranks that wait for each other, without Trainyard; in the first attempt one of them is stopped from outside."""

import os
from pathlib import Path

import torch
import torch.distributed as dist

folder = Path(os.environ["TRAINYARD_RUN_DIR"])
dist.init_process_group(backend="gloo")
rank, value, step = dist.get_rank(), torch.ones(1), 0
(folder / "pids").mkdir(exist_ok=True)
(folder / "pids" / str(rank)).write_text(str(os.getpid()))
while os.environ["TRAINYARD_ATTEMPT"] == "0" or step < 4:
    dist.all_reduce(value)
    step += 1
    if rank == 0:
        print(f"step {step} loss {1 / step:.4f}", flush=True)
dist.destroy_process_group()
