"""The stacks of ranks that hang, as far as they can be had within seconds, as text. Linux, standard library only.

py-spy where it is installed (it reads without stopping the process, so a stopped one too); Python's faulthandler in ranks that
registered it for SIGUSR2, as the runtime does: it prints into the rank's own file in the run folder (hang_files.py), else to its stderr,
which is the job's log; and what /proc tells of every thread. The same signal makes a rank of the runtime dump its flight recorder.
Used by local-runner's supervisor too (a copy, byte for byte).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

IN_TRAINYARD = bool(__package__)
if IN_TRAINYARD:
    from trainyard import hang_files
else:  # a copy beside its siblings, in the local-runner skill
    import hang_files

PROC = Path("/proc")
SPY_S = 4.0
"""One torch rank takes 0.03 s, 64 at once 1.2 s (measured)."""
MAX_RANKS, MAX_THREADS, MAX_BYTES = 16, 64, 64 * 1024
PRINTS = signal.SIGUSR2
PRINTING_S = 0.5


def collect(ranks: Mapping[int, int], python: str, *, ask: bool, run_dir: Path | None = None) -> str:
    """`ranks`: pid by rank. `python`: the job's interpreter. `ask`: the ranks end soon, so a signal may be sent to them."""
    shown = sorted(ranks.items())[:MAX_RANKS]
    files = hang_files.before(run_dir, ranks) if ask and run_dir else {}
    # All of them dump their flight recorders: a dump that is missing says something too.
    asked = [rank for rank, pid in sorted(ranks.items()) if ask and _print_yourself(pid)]
    spied = _spy([pid for _, pid in shown], python)
    files = {rank: one for rank, one in files.items() if rank in asked}
    told = hang_files.answers(files) if files else {}
    parts = [f"=== rank {rank}, pid {pid} ===\n{spied.get(pid) or told.get(rank, '')}{_threads(pid)}" for rank, pid in shown]
    if flown := hang_files.wait_for_flight(files):
        parts.append(f"Flight recorders written by ranks: {', '.join(map(str, flown))}\n")
    if asked := [rank for rank in asked if rank not in told]:
        parts.append(f"Ranks that were asked to print their stacks to the log: {', '.join(map(str, asked))}\n")
        time.sleep(PRINTING_S)
    if len(ranks) > MAX_RANKS:
        parts.append(f"{len(ranks) - MAX_RANKS} more ranks are left out\n")
    return "\n".join(parts)


def _print_yourself(pid: int) -> bool:
    """Whether the rank catches the signal (else it would end it) and was sent it."""
    try:
        status = (PROC / str(pid) / "status").read_text(errors="replace").splitlines()
        caught = next(int(line.split()[1], 16) for line in status if line.startswith("SigCgt:"))
        if not caught >> (PRINTS - 1) & 1:
            return False
        os.kill(pid, PRINTS)
    except (OSError, ValueError, StopIteration):
        return False
    return True


def _spy(pids: list[int], python: str) -> dict[int, str]:
    """What py-spy prints, by pid; {} without py-spy."""
    beside = [str(Path(each).parent / "py-spy") for each in (python, sys.executable)]
    program = next((found for found in map(shutil.which, ["py-spy", *beside]) if found), None)
    if program is None:
        return {}
    running = {pid: _start([program, "dump", "--nonblocking", "--pid", str(pid)]) for pid in pids}
    deadline = time.monotonic() + SPY_S
    return {pid: _answer(process, deadline) for pid, process in running.items() if process is not None}


def _start(words: list[str]) -> subprocess.Popen[bytes] | None:
    with contextlib.suppress(OSError):
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return None


def _answer(process: subprocess.Popen[bytes], deadline: float) -> str:
    try:
        out, _ = process.communicate(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    return (
        out[:MAX_BYTES].decode(errors="replace") if process.returncode == 0 else ""
    )  # what it may not read, the rank itself may tell


def _threads(pid: int) -> str:
    """Name, state and kernel function of each thread; no rights are needed for the first two."""
    lines, folder = [], PROC / str(pid) / "task"
    try:
        numbers = sorted(map(int, os.listdir(folder)))[:MAX_THREADS]
    except OSError:
        numbers = []
    for task in (folder / str(number) for number in numbers):
        try:
            name = (task / "comm").read_text(errors="replace").strip()
            state = (task / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
        try:
            where = (task / "wchan").read_text(errors="replace").strip()
        except OSError:
            where = ""
        lines.append(f"thread {task.name} {name!a} state {state}{f' in {where}' if where not in ('', '0') else ''}\n")
    return "".join(lines) or "the process is gone\n"
