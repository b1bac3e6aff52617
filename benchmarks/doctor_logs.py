"""Evidence of a job of many pods whose logs are long: one pod's rank fails in the end, and the others lose their connection to it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

LOG_BYTES = 10_000_000
BODIES = 4
"""Different logs; pods take turns with them, each with an end of its own."""
PROCS = 8
WORDS = "shard cache worker queue batch index fetched decoded sample prefetch bucket buffer stream kernel plan segment".split()


def _clock(number: int) -> str:
    return f"2026-11-30T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}"


def _nccl(number: int, random: random.Random) -> str:
    to, rail = random.randrange(2048), number % 4
    channel = f"Channel {number % 32:02d}/0 : {number % 2048}[{number % 8}] -> {to}[{to % 8}] [send] via NET/Libfabric/{rail}/GDRDMA"
    return f"ip-10-0-3-7:412:{500 + number % 8} [{number % 8}] NCCL INFO {channel} comm 0x{random.getrandbits(44):x}\n"


def _step(number: int, random: random.Random) -> str:
    speed = f"lr 0.0003 tokens/s {random.randrange(10_000, 20_000)} grad_norm {random.random():.3f}"
    return f"{_clock(number)} [rank0]: step {number}/1000000 loss {2 + random.random():.4f} {speed}\n"


def _loader(number: int, random: random.Random) -> str:
    words = " ".join(random.choices(WORDS, k=6))
    return f"{_clock(number)} INFO {random.choice(WORDS)}: {words} id={random.getrandbits(64):016x} took {random.random():.3f} ms\n"


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


def make(folder: Path, kind: str, pods: int) -> Path:
    """An evidence folder; the guilty pod is the one in the middle."""
    bodies = [_body(KINDS[kind], number) for number in range(BODIES)]
    rows = [{"name": f"train-worker-{each}", "node": f"ip-10-0-{each // 250}-{each % 250}", "node_rank": each} for each in range(pods)]
    for number, row in enumerate(rows):
        (place := folder / "pods" / str(row["name"])).mkdir(parents=True)
        (place / "pytorch.log").write_bytes(bodies[number % BODIES] + _end(number, guilty(pods)).encode())
    about = {"format": 1, "time": 1_796_000_000.0, "run": "train", "job": "PyTorchJob/train", "engine": "pytorchjob"}
    size = {"world_size": PROCS * pods, "procs_per_node": PROCS, "pods": rows, "left_out": []}
    (folder / "evidence.json").write_text(json.dumps(about | size))
    return folder


def guilty(pods: int) -> int:
    return pods // 2


def _body(line: Callable[[int, random.Random], str], seed: int) -> bytes:
    """A start as every job has it (NCCL's lines), then the same kind to the end."""
    source, lines, size = random.Random(seed), [], 0
    while size < LOG_BYTES:
        lines.append((_nccl if len(lines) < 400 else line)(len(lines), source))
        size += len(lines[-1])
    return "".join(lines).encode()


def _end(pod: int, guilty: int) -> str:
    told = "AssertionError: the loader gave 3 columns, wanted 4" if pod == guilty else (
        "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.3.7]:33450"
    )
    rank = PROCS * pod + 3
    lines = ["Traceback (most recent call last):", '  File "/app/train.py", line 212, in <module>', "    main()", told]
    return "".join(f"[rank{rank}]: {line}\n" for line in lines)
