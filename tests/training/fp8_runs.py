"""Runs of both trainers in processes of their own, forked from one that has torch and torchao imported: seconds less a run."""

from __future__ import annotations

import importlib
import io
import multiprocessing
import os
import signal
import socket
import sys
import time
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from tests.training.lm_runs import TRAINING, Ended  # makes the folder of the trainers importable

# isort: split
import lm_fp8
import torchao.float8  # noqa: F401 - a forked run finds it imported
import train_fp8

__all__ = ["LOOP", "SIZE", "lm_fp8", "run", "train_fp8", "warm_up"]

SIZE = "--layers 2 --dim 32 --heads 2 --block-size 16 --batch-size 8 --max-bytes 60000 --sample-bytes 0"
LOOP = "--eval-interval 20 --eval-batches 2 --warmup-steps 10 --dropout 0.1"
DEADLINE_S = 120.0

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload([__name__])


def warm_up() -> None:
    """Start the process that all runs are forked from; it imports while the caller does something else."""
    forkserver.ensure_running()


class DeadlyOutput(io.TextIOWrapper):
    """Standard output that kills its own process, without a last word, when the process says `word`."""

    word = ""

    def write(self, text: str) -> int:
        if self.word and self.word in text:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(text)


def run(folder: Path, *options: str, script: str = "train_fp8", ranks: int = 1, killed_at: int = 0) -> Ended:
    """One run in `folder`, checkpoints in `folder`/checkpoints, to its end or its kill when it tells step `killed_at`."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = [*SIZE.split(), *LOOP.split(), *options]
    platform = {
        "TRAINYARD_RUN_DIR": folder,
        "TRAINYARD_CHECKPOINTS": folder / "checkpoints",
        "TRAINYARD_ROLLING_STEPS": 5,
        "TRAINYARD_KEEP_ROLLING": 100,
    }
    environment = {name: str(value) for name, value in platform.items()}
    if ranks > 1:
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(ranks)}
    words = f"trainyard step={killed_at} " if killed_at else ""
    processes = [
        server.Process(target=_child, args=(script, argv, folder, {**environment, "RANK": str(rank)}, words))
        for rank in range(ranks)
    ]
    codes = ended(processes)
    out, err = ((folder / f"rank-0.{name}").read_text() for name in ("out", "err"))
    return Ended(max(codes, key=abs), out, err, folder)


def ended(processes: list[Any]) -> list[int]:
    """Start them and wait until all have ended; exit codes, negative for a signal."""
    deadline = time.monotonic() + DEADLINE_S
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        if any(process.exitcode is None for process in processes):
            raise TimeoutError(f"a run did not end within {DEADLINE_S:.0f} s")
        return [process.exitcode for process in processes]
    finally:
        for process in processes:
            process.kill()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _child(script: str, argv: list[str], folder: Path, environment: dict[str, str], deadly_words: str) -> None:
    os.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("TRAINYARD_", "PET_")) and name != "TRAINYARD_TEST_SESSION"]:
        del os.environ[name]
    os.environ.update(environment, GLOO_SOCKET_IFNAME="lo", OMP_NUM_THREADS="1")
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"rank-{environment['RANK']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
    sys.stdout = DeadlyOutput(open(1, "wb", closefd=False), encoding="utf-8", write_through=True)  # noqa: SIM115
    sys.stdout.word = deadly_words
    sys.path.insert(0, str(TRAINING))
    importlib.import_module(script).main(argv)
