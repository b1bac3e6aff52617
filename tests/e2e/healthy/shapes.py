"""A slow but healthy job of two ranks: five steps, a long pause in which something is done, five steps.

    torchrun --nproc-per-node=2 shapes.py "an evaluation on one rank" 660
    python shapes.py --names 0          # all there are

The pause is as light as such work can be, so that many of these run beside each other: a tenth of a processor, half a megabyte a
second. Real work is louder.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset

NAME, PAUSE_S = sys.argv[1], float(sys.argv[2])
RANK = int(os.environ.get("RANK", "0"))
FOLDER = Path(tempfile.gettempdir())
"""Of this job: the campaign sets TMPDIR."""


def compute(seconds: float = PAUSE_S, each: Callable[[], None] = lambda: None, share: float = 0.1) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        until = time.thread_time() + share
        while time.thread_time() < until:
            pass
        each()
        time.sleep(1 - share)


def write(seconds: float = PAUSE_S) -> None:
    """A megabyte every two seconds, of which the storage keeps the last hundred."""
    end, block = time.monotonic() + seconds, os.urandom(1 << 20)
    with (FOLDER / f"shard-{RANK}").open("wb") as file:
        while time.monotonic() < end:
            file.seek(file.tell() % (100 << 20))
            file.write(block)
            file.flush()
            os.fsync(file.fileno())
            time.sleep(2)


def every(seconds: float, say: Callable[[], object]) -> None:
    end = time.monotonic() + PAUSE_S
    while time.monotonic() < end:
        say()
        time.sleep(seconds)


def compile_something() -> None:
    source = FOLDER / f"kernel-{RANK}.c"
    source.write_text("int twice(int x) { return 2 * x; }\n")
    every(5, lambda: subprocess.run(["gcc", "-O2", "-c", str(source), "-o", str(FOLDER / f"kernel-{RANK}.o")], check=True))


def in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def in_a_child(work: Callable[[], None]) -> None:
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()


def a_program() -> None:
    text = f"import time\nend = time.time() + {PAUSE_S}\nwhile time.time() < end: sum(range(2000000)); time.sleep(0.5)"
    subprocess.run([sys.executable, "-c", text], check=True)


def an_epoch() -> None:
    print("epoch 1: train loss 2.31, accuracy 0.1", flush=True)
    compute()


def own_log() -> None:
    logging.basicConfig(filename=FOLDER / f"train-{RANK}.log", level=logging.INFO)
    every(30, lambda: logging.info("evaluating"))


class SlowItems(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        compute()
        return torch.zeros(1)


def on_rank_0(work: Callable[[], None]) -> Callable[[], None]:
    return lambda: work() if RANK == 0 else None


DURING: dict[str, Callable[[], None]] = {
    "an evaluation on all ranks": compute,
    "an evaluation on one rank": on_rank_0(compute),
    "an evaluation that prints": on_rank_0(lambda: every(60, lambda: print("evaluated another batch", flush=True))),
    "an evaluation by a program": on_rank_0(a_program),
    "a save of eleven minutes": on_rank_0(write),
    "a save in a thread": on_rank_0(lambda: in_a_thread(write)),
    "a save by a child": on_rank_0(lambda: in_a_child(write)),
    "data from two workers": lambda: [None for _ in DataLoader(SlowItems(), num_workers=2)].clear(),
    "one line an epoch": an_epoch,
    "a log of its own": on_rank_0(own_log),
    "lines kept back in a buffer": lambda: compute(each=lambda: print("iteration done")),
    "a pause by somebody": lambda: time.sleep(20),
}  # fmt: skip
BEFORE: dict[str, Callable[[], None]] = {
    "compilation at the first step": compile_something,
    "data preparation on one rank": on_rank_0(write),
    "data preparation on processors": compute,
    "a progress bar alone": on_rank_0(lambda: every(30, lambda: print("\rtokenizing  12%|#  | 3/25", end="", file=sys.stderr, flush=True))),
    "dots": on_rank_0(lambda: every(60, lambda: print(".", end="", flush=True))),
}  # fmt: skip
AFTER: dict[str, Callable[[], None]] = {
    "an export when the other rank has ended": on_rank_0(compute),
    "a copy of the result when the other rank has ended": on_rank_0(write),
}
SILENT = {"no line at all": compute}
"""It prints no step either."""
HUNG: dict[str, Callable[[], None]] = {
    "CONTROL: a rank waits for what never comes": on_rank_0(lambda: time.sleep(PAUSE_S)),
    "CONTROL: a rank is stopped": lambda: time.sleep(20),
}
"""What must be ended: the first after ten minutes, the second after two."""
NAMES = [*BEFORE, *DURING, *AFTER, *SILENT, *HUNG]


def steps(first: int) -> None:
    for step in range(first, first + 5):
        loss = torch.tensor(3.0 / step)
        dist.all_reduce(loss)
        if RANK == 0 and NAME not in SILENT and not NAME.startswith("lines kept back"):
            print(f"step {step} loss {loss.item() / 2:.4f}", flush=True)
        time.sleep(0.5)


def main() -> None:
    dist.init_process_group("gloo")
    BEFORE.get(NAME, lambda: None)()
    steps(1)
    {**DURING, **SILENT, **HUNG}.get(NAME, lambda: None)()
    steps(6)
    dist.destroy_process_group()
    AFTER.get(NAME, lambda: None)()


if __name__ == "__main__":
    print(*NAMES, sep="\n") if NAME == "--names" else main()
