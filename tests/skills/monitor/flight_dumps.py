"""Flight recorder dumps of real gloo groups in which something is wrong, and of healthy ones: how samples/flight.tar.xz was made.

python -m tests.skills.monitor.flight_dumps samples/flight.tar.xz        # some minutes; torch's pickles with the paths of this machine replaced
"""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import signal
import sys
import tarfile
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RANKS = 4
HANGS_S, DEADLINE_S = 20.0, 300.0
Script = Callable[[int, "Ops"], None]


@dataclass(frozen=True)
class Case:
    script: Script
    guilty: tuple[int, ...] = ()
    state: str = "hang"
    ranks: int = RANKS
    sizes: tuple[object, str] | None = None
    """gloo ends the process at once where sizes differ (tried, torch 2.15: `op.preamble.length <= op.nbytes`), NCCL hangs: of these cases the
    last call, the same on all ranks, is made one of other sizes at the guilty rank, and one that is not done at all of them."""


class Ops:
    """What the scripts below call."""

    def __init__(self, rank: int, ranks: int) -> None:
        import torch
        import torch.distributed as dist

        self.rank, self.dist, self.torch = rank, dist, torch
        self.x = torch.ones(8)
        low = list(range(ranks // 2))
        self.low, self.high = dist.new_group(low), dist.new_group(list(range(ranks // 2, ranks)))
        self.other = dist.new_group(list(range(ranks)))
        self.half = self.low if rank in low else self.high

    def reduce(self, group: object = None) -> None:
        self.dist.all_reduce(self.torch.ones(8), group=group)

    def gather(self) -> None:
        self.dist.all_gather_into_tensor(self.torch.ones(8 * self.dist.get_world_size()), self.torch.ones(8))

    def broadcast(self, source: int = 0) -> None:
        self.dist.broadcast(self.x, source)

    def warm(self) -> None:
        for _ in range(3):
            self.reduce()
            self.reduce(self.half)
        self.gather()
        self.reduce(self.other)


def absent(*guilty: int, call: Callable[[Ops], None] = Ops.reduce) -> Script:
    """These ranks are busy with something else."""

    def script(rank: int, ops: Ops) -> None:
        if rank in guilty:
            time.sleep(600)
        call(ops)

    return script


def calls(odd: int, other: Callable[[Ops], None], usual: Callable[[Ops], None]) -> Script:
    return lambda rank, ops: (other if rank == odd else usual)(ops)


def in_half(guilty: int, *, rest_waits: bool) -> Script:
    def script(rank: int, ops: Ops) -> None:
        is_there = (rank < RANKS // 2) == (guilty < RANKS // 2)
        if rank == guilty or (not is_there and not rest_waits):
            time.sleep(600)
        if is_there:
            ops.reduce(ops.half)
        ops.reduce()

    return script


def stopped(guilty: int, call: Callable[[Ops], None] = Ops.reduce) -> Script:
    def script(rank: int, ops: Ops) -> None:
        if rank == guilty:
            os.kill(os.getpid(), signal.SIGSTOP)
        call(ops)

    return script


def crossed(odd: int) -> Script:
    """Two groups of the same ranks, called in another order."""

    def script(rank: int, ops: Ops) -> None:
        for group in (ops.other, None) if rank == odd else (None, ops.other):
            ops.reduce(group)

    return script


def steps(pause_s: Callable[[int, int], float], call: Callable[[Ops], None] = Ops.reduce) -> Script:
    """A loop that trains: `pause_s(rank, step)`."""

    def script(rank: int, ops: Ops) -> None:
        for step in range(100_000):
            time.sleep(pause_s(rank, step))
            call(ops)

    return script


CASES = {
    "one-missing-0": Case(absent(0), (0,)),
    "one-missing-1": Case(absent(1, call=lambda ops: ops.dist.barrier()), (1,)),
    "one-missing-2": Case(absent(2, call=Ops.gather), (2,)),
    "one-missing-source": Case(absent(3, call=lambda ops: ops.broadcast(3)), (3,)),
    "two-missing-1-2": Case(absent(1, 2), (1, 2)),
    "two-missing-0-3": Case(absent(0, 3, call=Ops.gather), (0, 3)),
    "two-missing-of-6": Case(absent(2, 5), (2, 5), ranks=6),
    "order-broadcast": Case(
        calls(2, lambda ops: (ops.broadcast(), ops.reduce()), lambda ops: (ops.reduce(), ops.broadcast())), (2,), "mismatch"
    ),
    "order-gather": Case(
        calls(0, lambda ops: (ops.gather(), ops.reduce()), lambda ops: (ops.reduce(), ops.gather())), (0,), "mismatch"
    ),
    "order-one-more": Case(calls(3, lambda ops: (ops.dist.barrier(), ops.reduce()), Ops.reduce), (3,), "mismatch"),
    "order-of-groups": Case(crossed(1), (1,)),
    "shape-reduce": Case(lambda rank, ops: ops.reduce(), (1,), "mismatch", sizes=([6], "Float")),
    "shape-gather": Case(lambda rank, ops: ops.gather(), (2,), "mismatch", sizes=([12], "Float")),
    "type-reduce": Case(lambda rank, ops: ops.reduce(), (3,), "mismatch", sizes=([8], "Double")),
    "half-idle": Case(in_half(1, rest_waits=False), (1,)),
    "half-others-wait": Case(in_half(3, rest_waits=True), (3,)),
    "half-first": Case(in_half(0, rest_waits=True), (0,)),
    "stopped-1": Case(stopped(1), (1,)),
    "stopped-3": Case(stopped(3, Ops.gather), (3,)),
    "stopped-in-half": Case(stopped(2, lambda ops: (ops.reduce(ops.half), ops.reduce())), (2,)),
    "healthy-quick": Case(steps(lambda rank, step: 0.002), state="moves"),
    "healthy-slow-rank": Case(steps(lambda rank, step: 0.3 if rank == 3 else 0.0), state="moves"),
    "healthy-evaluation": Case(steps(lambda rank, step: 1.0 if rank == 0 and step % 4 == 3 else 0.01), state="moves"),
    "healthy-halves": Case(steps(lambda rank, step: 0.05 * (rank + 1), lambda ops: ops.reduce(ops.half)), state="moves"),
    "healthy-done": Case(lambda rank, ops: None, state="idle"),
}


def make(folder: Path) -> dict[str, dict[int, bytes]]:
    """Case -> rank -> what it wrote; a stopped one writes nothing. All cases at once: their ranks mostly wait."""
    pids = []
    for name, case in CASES.items():
        (folder / name).mkdir()
        pids += [os.fork() or _forked(case, rank, folder / name) for rank in range(case.ranks)]
    wanted = sum(case.ranks - name.startswith("stopped") for name, case in CASES.items())
    deadline = time.monotonic() + DEADLINE_S
    while len(list(folder.glob("*/flight/attempt-0000/*.bin"))) < wanted and time.monotonic() < deadline:
        time.sleep(0.5)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    found = {name: sorted((folder / name).glob("flight/attempt-0000/*.bin")) for name in CASES}
    return {name: {int(path.stem[-4:]): path.read_bytes() for path in paths} for name, paths in found.items()}


def _forked(case: Case, rank: int, run: Path) -> int:
    try:
        _rank(case, rank, run)
    except BaseException:  # whatever it is, a copy of this program must not go on where the first one does
        traceback.print_exc()
    os._exit(1)


def _rank(case: Case, rank: int, run: Path) -> None:
    os.environ |= {
        "RANK": str(rank),
        "WORLD_SIZE": str(case.ranks),
        "TRAINYARD_RUN_DIR": str(run),
        "TRAINYARD_RUN_ID": "sample",
    }
    import torch
    import torch.distributed as dist
    from trainyard import flight

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{run}/store", rank=rank, world_size=case.ranks)
    ops = Ops(rank, case.ranks)
    ops.warm()
    (run / f"ready-{rank}").touch()

    def dump() -> None:
        while len(list(run.glob("ready-*"))) < case.ranks:
            time.sleep(0.5)
        time.sleep(HANGS_S)
        flight.dump()

    threading.Thread(target=dump, daemon=True).start()
    try:
        case.script(rank, ops)
    except RuntimeError as error:
        print(f"rank {rank}: {error}", file=sys.stderr)
    time.sleep(3600)


def without_paths(raw: bytes, case: Case, rank: int) -> bytes:
    """The same values in a pickle without this machine's paths, and with the runtime's line behind it."""
    stream = io.BytesIO(raw)
    value = pickle.load(stream)  # noqa: S301 - made a moment ago by this very program
    for entry in value["entries"]:
        entry["frames"] = [
            {**frame, "filename": re.sub(r".*/(torch/distributed/[^/]*)$", r"/site-packages/\1", frame["filename"])}
            for frame in entry.get("frames", [])[:4]
        ]
        for frame in entry["frames"]:
            if not frame["filename"].startswith("/site-packages"):
                frame["filename"] = "/job/train.py"
    if case.sizes:
        last = max(value["entries"], key=lambda entry: entry["record_id"])
        last["retired"] = False
        if rank in case.guilty:
            last["input_sizes"], last["input_dtypes"] = [case.sizes[0]], [case.sizes[1]]
    return pickle.dumps(value, protocol=2) + stream.read()


def main(archive: str) -> None:
    import torch.distributed  # noqa: F401 - once, before the forks

    with tempfile.TemporaryDirectory() as scratch, tarfile.open(archive, "w:xz") as made:
        for name, dumps in make(Path(scratch)).items():
            print(json.dumps({"case": name, "ranks": sorted(dumps)}), flush=True)
            for rank, raw in sorted(dumps.items()):
                member, raw = tarfile.TarInfo(f"{name}/rank-{rank:04d}.bin"), without_paths(raw, CASES[name], rank)
                member.size = len(raw)
                made.addfile(member, io.BytesIO(raw))


if __name__ == "__main__":
    main(sys.argv[1])
