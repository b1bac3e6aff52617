"""Two ranks that wait for each other, without Trainyard; in the first attempt one of them is stopped from outside."""

import os
import threading
from pathlib import Path

ready = threading.Event()


def loading() -> None:
    while not ready.wait(0.5):
        print("loading", flush=True)


threading.Thread(target=loading, daemon=True).start()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

folder = Path(os.environ["TRAINYARD_RUN_DIR"])
dist.init_process_group(backend="gloo")
ready.set()
rank, value, step = dist.get_rank(), torch.ones(1), 0
(folder / "pids").mkdir(exist_ok=True)
(folder / "pids" / str(rank)).write_text(str(os.getpid()))
while os.environ["TRAINYARD_ATTEMPT"] == "0" or step < 4:
    dist.all_reduce(value)
    step += 1
    if rank == 0:
        print(f"step {step} loss {1 / step:.4f}", flush=True)
dist.destroy_process_group()
