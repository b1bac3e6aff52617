"""Evidence of a job of many pods whose logs are long: one pod's rank fails in the end, and the others lose their connection to it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

LOG_BYTES = 10_000_000
END_BYTES = 800_000
"""Beginning and end are written for each pod anew, with ids of its own; the same middle stands in all."""
PROCS = 8
WORDS = [
    "a",
    "shard",
    "in",
    "the",
    "cache",
    "of",
    "worker",
    "queue",
    "batch",
    "index",
    "fetched",
    "decoded",
    "sample",
    "prefetch",
    "bucket",
    "buffer",
    "stream",
]
TEMPLATES = [" ".join(random.Random(each).choices(WORDS, k=6)) for each in range(50)]
"""A program has so many kinds of lines; numbers and ids differ."""


def _clock(number: int) -> str:
    return f"2026-11-30T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}"


def _nccl(number: int, random: random.Random) -> str:
    to, rail = random.randrange(2048), number % 4
    channel = (
        f"Channel {number % 32:02d}/0 : {number % 2048}[{number % 8}] -> {to}[{to % 8}] [send] via NET/Libfabric/{rail}/GDRDMA"
    )
    return f"ip-10-0-3-7:412:{500 + number % 8} [{number % 8}] NCCL INFO {channel} comm 0x{random.getrandbits(44):x}\n"


def _step(number: int, random: random.Random) -> str:
    speed = f"lr 0.0003 tokens/s {random.randrange(10_000, 20_000)} grad_norm {random.random():.3f}"
    return f"{_clock(number)} [rank0]: step {number}/1000000 loss {2 + random.random():.4f} {speed}\n"


def _loader(number: int, random: random.Random) -> str:
    words = random.choice(TEMPLATES)
    return f"{_clock(number)} INFO {words} id={random.getrandbits(64):016x} took {random.random():.3f} ms\n"


def _noise(number: int, random: random.Random) -> str:
    if number % 40:
        return _loader(number, random)
    return f"{_clock(number)} WARNING reader: part {random.getrandbits(64):016x} could not be read, error 5, trying again\n"


KINDS: dict[str, Callable[[int, random.Random], str]] = {
    "step lines": _step,
    "NCCL's INFO lines": _nccl,
    "a loader's lines": _loader,
    "a loader's, every 40th a warning": _noise,
}
FAILED = "AssertionError: the loader gave 3 columns, wanted 4"
SLOW = ("a loader's, every 40th a warning",)


def make(folder: Path, kind: str, pods: int) -> Path:
    """An evidence folder; the guilty pod is the one in the middle."""
    line = KINDS[kind]
    middle = _lines(line, 500, END_BYTES, seed=pods) * (LOG_BYTES // END_BYTES - 1)
    rows = [
        {"name": f"train-worker-{each}", "node": f"ip-10-0-{each // 250}-{each % 250}", "node_rank": each}
        for each in range(pods)
    ]
    for number, row in enumerate(rows):
        (place := folder / "pods" / str(row["name"])).mkdir(parents=True)
        start = _lines(_nccl, 0, 50_000, number) + _lines(line, 400, END_BYTES, number)
        rest = _lines(line, 100_000, END_BYTES, -number) + end(PROCS * number + 3, FAILED if number == guilty(pods) else "")
        (place / "pytorch.log").write_text(start + middle + rest)
    about = {"format": 1, "time": 1_796_000_000.0, "run": "train", "job": "PyTorchJob/train", "engine": "pytorchjob"}
    size = {"world_size": PROCS * pods, "procs_per_node": PROCS, "pods": rows, "left_out": []}
    (folder / "evidence.json").write_text(json.dumps(about | size))
    return folder


def guilty(pods: int) -> int:
    return pods // 2


def _lines(line: Callable[[int, random.Random], str], first: int, size: int, seed: int) -> str:
    source, lines, written = random.Random(seed), [], 0
    while written < size:
        lines.append(line(first + len(lines), source))
        written += len(lines[-1])
    return "".join(lines)


def end(rank: int, told: str) -> str:
    """A traceback of that rank; of one that lost its peer where nothing is told."""
    told = (
        told
        or "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.3.7]:33450"
    )
    lines = ["Traceback (most recent call last):", '  File "/app/train.py", line 212, in <module>', "    main()", told]
    return "".join(f"[rank{rank}]: {line}\n" for line in lines)
