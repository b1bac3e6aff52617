"""Durable save at two ranks under DDP: this module is started by torchrun, and `run` starts it."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from benchmarks.measuring import Comparison, Contestant, Group, Series, best, interleave
from benchmarks.subject import SIZES, Subject, build

RANKS, TIMEOUT_S = 2, 1800
OURS, DISK = f"trainyard, {RANKS} ranks", "disk, write + fsync"


def run(size: str, folder: Path, repeats: int) -> Group:
    """Start the ranks, read what rank 0 measured."""
    result = folder / "series.json"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS)]
    words = ["-m", "benchmarks.ranks", size, str(folder), str(repeats), str(result)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    done = subprocess.run([*launcher, *words], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(f"the ranks failed ({done.returncode}): {done.stderr[-2000:]}")
    measured = json.loads(result.read_text())
    return _judge(measured["bytes"], {name: Series(name, tuple(seconds)) for name, seconds in measured["series"].items()})


def _judge(nbytes: int, series: dict[str, Series]) -> Group:
    from benchmarks.saving import DCP_GOAL, DISK_GOAL

    dcp = best([each for name, each in series.items() if name.startswith("dcp")])
    comparisons = [
        Comparison("against the disk", series[OURS], series[DISK], DISK_GOAL),
        Comparison("against the best dcp.save", series[OURS], dcp, DCP_GOAL),
    ]
    notes = [
        "DDP over gloo: trainyard and dcp.save both spread the tensors over the ranks; measured on rank 0, from a barrier on",
        "disk: as many bytes by rank 0 alone into one file",
    ]
    return Group(f"durable save at {RANKS} ranks, {nbytes / 1e6:,.0f} MB", list(series.values()), comparisons, notes)


def main(size: str, folder: Path, repeats: int, result: Path) -> None:
    """One rank."""
    import trainyard

    rank = trainyard.init_distributed().rank
    built = build(SIZES[size])
    series = interleave(_contestants(built, folder, rank), repeats)
    if rank == 0:
        measured = {name: each.seconds for name, each in series.items()}
        result.write_text(json.dumps({"bytes": built.nbytes, "series": measured}))
    dist.barrier()
    dist.destroy_process_group()


def _contestants(built: Subject, folder: Path, rank: int) -> dict[str, Contestant]:
    """The same calls on every rank; rank 0's seconds count."""
    from torch.nn.parallel import DistributedDataParallel

    from benchmarks import disk, peers
    from benchmarks.ours import Ours

    numbers = itertools.count()
    ours = Ours(folder / "ours", dataclasses.replace(built, model=DistributedDataParallel(built.model)))
    ours.step_without_save()
    block = torch.randint(0, 255, (disk.CHUNK_BYTES,), dtype=torch.uint8).numpy().data if rank == 0 else memoryview(b"")
    rest, count = built.nbytes % disk.CHUNK_BYTES, built.nbytes // disk.CHUNK_BYTES

    def alone(place: Path) -> float:
        return disk.write_and_fsync(place, [block] * count + [block[:rest]]) if rank == 0 else 0.0

    def together(save: Callable[[Path], float]) -> Contestant:
        def run_once() -> float:
            place = folder / f"save-{next(numbers)}"
            dist.barrier()
            seconds = save(place)
            dist.barrier()
            if rank == 0:
                disk.remove_whole(place, built.nbytes)
            return seconds

        return run_once

    def whole() -> float:
        dist.barrier()
        return ours.save().durable_s

    contestants: dict[str, Contestant] = {OURS: whole, DISK: together(alone)}
    for name, settings in peers.SAVE_WRITERS.items():
        contestants[name] = together(functools.partial(peers.save, subject=built, no_dist=False, **settings))
    return contestants


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
