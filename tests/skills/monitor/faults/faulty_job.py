"""A small training with gloo that fails in one way, named by its first word; the rank that does it is the second word.

Run by make_fault_logs.py under torchrun. Every fault is the real one: the kernel, torch, gloo and Python find the words.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import os
import signal
import socket
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, Dataset

FAULT, GUILTY = sys.argv[1], int(sys.argv[2])
RANK = int(os.environ["RANK"])
AT = 4


class Numbers(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, at: int) -> torch.Tensor:
        if RANK == GUILTY and at >= 20 and FAULT.startswith("loader"):
            if FAULT == "loader-killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if FAULT == "loader-bus":
                os.kill(os.getpid(), signal.SIGBUS)
            if FAULT == "loader-left":
                os._exit(0)
            raise ValueError(f"sample {at} has 3 channels, expected 1")
        return torch.full((8,), float(at))


def at_the_start() -> None:
    if FAULT == "bad-option":
        argparse.ArgumentParser(prog="train.py").parse_args(["--learning-rat", "3"])
    if FAULT == "module-missing":
        import flash_attn_of_nobody  # noqa: F401
    if FAULT == "file-missing":
        open("/data/of/nobody/train.bin").close()
    if FAULT == "slow-start" and RANK == GUILTY:
        time.sleep(60)


def fail(model: nn.Module, step: int) -> None:
    if FAULT == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif FAULT == "segfault":
        ctypes.string_at(0)
    elif FAULT == "abort":
        os.abort()
    elif FAULT == "bus-error":
        os.kill(os.getpid(), signal.SIGBUS)
    elif FAULT == "assertion":
        assert step < 0, "the mask must have as many tokens as the batch"
    elif FAULT == "script-error":
        raise KeyError("labels")
    elif FAULT == "left":
        sys.exit(0)
    elif FAULT == "exit-3":
        sys.exit(3)
    elif FAULT == "missing":
        time.sleep(40)
    elif FAULT == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif FAULT == "other-shape":
        dist.all_reduce(torch.ones(7))
    elif FAULT == "other-collective":
        dist.broadcast(torch.ones(4), src=RANK)
    elif FAULT == "memory":
        torch.empty(1 << 50, dtype=torch.uint8)
    elif FAULT == "host-memory-error":
        bytearray(1 << 60)
    elif FAULT == "disk-full":
        torch.save({"weight": torch.zeros(1 << 20)}, "/dev/full")
    elif FAULT == "read-only":
        torch.save({"weight": torch.zeros(4)}, "/proc/checkpoint.pt")
    elif FAULT == "checkpoint-mismatch":
        model.load_state_dict(nn.Sequential(nn.Linear(8, 9), nn.Linear(9, 1)).state_dict())
    elif FAULT == "checkpoint-damaged":
        path = f"/tmp/damaged-{os.getpid()}.pt"
        torch.save({"weight": torch.zeros(1000)}, path)
        with open(path, "r+b") as file:
            file.truncate(2000)
        torch.load(path)
    elif FAULT == "refused":
        socket.create_connection(("127.0.0.1", 9), timeout=3)
    elif FAULT == "name":
        socket.create_connection(("data.cluster.invalid", 80), timeout=3)


def handled(step: int) -> None:
    """Errors that the job knows what to do about."""
    import logging
    import traceback

    try:
        torch.empty(1 << 50, dtype=torch.uint8)
    except RuntimeError:
        traceback.print_exc()
        logging.warning("step %s: out of memory, trying again with half of the batch", step)
    logging.error("download of shard 3 failed: Connection reset by peer; trying again in 1 s")


def main() -> None:
    at_the_start()
    dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=12 if FAULT in ("missing", "stopped") else 300))
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 1))
    ddp = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=1e30 if FAULT == "nan" else 1e-6)
    loader = DataLoader(Numbers(), batch_size=4, num_workers=1 if FAULT.startswith("loader") else 0)
    for step, batch in enumerate(loader, 1):
        if step == AT and RANK == GUILTY:
            handled(step) if FAULT == "handled" else fail(model, step)
        loss = ddp(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if RANK == 0:
            print(f"step {step}/16 loss {loss.item():.4f}", flush=True)
        if FAULT == "nan" and step > 5 and not torch.isfinite(loss):
            raise FloatingPointError(f"loss is {loss.item()} at step {step}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
