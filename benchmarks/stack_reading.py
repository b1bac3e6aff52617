"""`diagnose_training.py stacks` of 64 small ranks, and of 8 that have imported torch: whole programs."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.measuring import Bound, Group, interleave

PROGRAM = Path("skills", "monitor", "src", "diagnose_training.py")
MAX_S, START_S = 2.0, 180.0
RANKS = {"64 plain processes": (64, "import time"), "8 ranks with torch": (8, "import time, torch")}
RANK = """
{imports}
from trainyard.stacks import print_when_asked

def wait(): time.sleep(3600)
print_when_asked()
print("up", flush=True)
wait()
"""


def run(root: Path, folder: Path, repeats: int) -> Group:
    """Seconds of the program, its start and the half second included over which it measures the use of processors."""
    series, bounds = [], []
    for name, (count, imports) in RANKS.items():
        with _ranks(root, folder / str(count), count, RANK.format(imports=imports)) as place:
            (told,) = interleave({name: lambda place=place, count=count: _stacks(root, place, count)}, repeats).values()
        series.append(told)
        bounds.append(Bound(f"stacks of {name}", told.seconds, MAX_S))
    notes = ["every rank has the runtime's signal and answers; all of them wait, so this is reading and not their work"]
    return Group("stacks of a run's ranks", series, notes=notes, bounds=bounds)


def _stacks(root: Path, run: Path, count: int) -> float:
    started = time.monotonic()
    done = subprocess.run([sys.executable, str(root / PROGRAM), "stacks", str(run), "--json"], capture_output=True, timeout=120)
    seconds = time.monotonic() - started
    groups = json.loads(done.stdout)["data"]["groups"]
    read = {(each["ranks"], each["read_with"]) for each in groups}
    if done.returncode or read != {(f"0-{count - 1}", "signal")}:
        raise RuntimeError(f"stacks ended with {done.returncode} and read {read}: {done.stderr[-500:]!r}")
    return seconds


@contextmanager
def _ranks(root: Path, run: Path, count: int, script: str) -> Iterator[Path]:
    """They end with the block."""
    run.mkdir(mode=0o700)
    run_id = secrets.token_hex(8)
    (run / "runner.json").write_text(json.dumps({"format": 1, "state": "running", "run_id": run_id, "name": "r"}))
    base = {"TRAINYARD_RUN_ID": run_id, "TRAINYARD_RUN_DIR": str(run), "TRAINYARD_FLIGHT": "off", "WORLD_SIZE": str(count)}
    env = {**os.environ, **base, "PYTHONPATH": str(root / "training"), "OMP_NUM_THREADS": "1"}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(count):
            words = [sys.executable, "-c", script]
            started.append(subprocess.Popen(words, cwd=run, env={**env, "RANK": str(rank)}, stdout=subprocess.PIPE))
        deadline = time.monotonic() + START_S
        for process in started:
            assert process.stdout is not None
            if process.stdout.readline() != b"up\n" or time.monotonic() > deadline:
                raise RuntimeError(f"a rank did not start within {START_S:.0f} s")
        yield run
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.communicate(timeout=30)
