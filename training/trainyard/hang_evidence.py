"""What /proc says about the ranks below one launcher: stopped, gone, waiting, at work. Linux, standard library only.

A look compares with the look before, and gives a document that fits into one message between nodes:
{"ranks": [[rank or null, pid or null, state, waits], ...], "output": grows when something was printed, "busy": "", "sign": ""}.
hang_rule.py judges it. Used by local-runner's supervisor too (a copy, byte for byte).
"""

from __future__ import annotations

import os
import stat as modes
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
WAITS, WORKS = 0.01, 0.05
"""Shares of a processor. A rank in a gloo wait used at most 1 tick in 5 s, and moved no byte (measured)."""
MOVES_PER_S = 200_000
"""Bytes: above it a process reads or writes."""
GPU_FILES = ("/dev/nvidia-uvm", "/dev/kfd", "/dev/neuron")
"""Open in every process with a CUDA, ROCm or Neuron context; what only watches GPUs (NVML) does without."""
CHAIN = 4
"""A shell that starts Python, and the like: so many processes are one rank."""

Ranks = dict[int, int]
"""Rank -> pid."""
Printed = dict[tuple[str, int], str]
"""Size of a file that stands for a process's output, or what the process wrote, where its output is a pipe."""


@dataclass(frozen=True)
class Process:
    """/proc/PID/stat, see proc(5)."""

    pid: int
    parent: int
    state: str
    ticks: int
    ticks_of_ended: int
    """Of children that have ended."""
    start: int


@dataclass(frozen=True)
class Counters:
    """Of one rank; they only grow while the same processes live."""

    ticks: int
    """Of the rank's own process."""
    ticks_below: int
    """Of everything below it."""
    moved: int
    """Bytes read and written by all of it."""
    write_calls: int
    """Of its own process; calls that failed count too: the disk may be full."""
    sleeps: int
    """How often its main thread went to sleep by itself."""


@dataclass(frozen=True)
class Work:
    busy: str = ""
    sign: str = ""
    waits: bool = False


class Evidence:
    """Looks at one launcher again and again."""

    def __init__(self, launcher_pid: int) -> None:
        self._root = launcher_pid
        self._looked_at = 0.0
        self._before: dict[tuple[int, int], Counters] = {}
        self._below: set[int] | None = None
        self._printed: Printed = {}
        self._output = 0
        self._gpu = False
        self.ranks: Ranks = {}
        """Those that live, at the last look."""
        self._ever: Ranks = {}

    def look(self, now_s: float) -> dict[str, Any]:
        """`now_s`: any clock. What cannot be seen is no proof of waiting. Raises OSError where nothing can: too many open files."""
        table = {process.pid: process for process in _processes()}
        children: dict[int, list[Process]] = {}
        for process in table.values():
            children.setdefault(process.parent, []).append(process)
        self.ranks, world, missing = _ranks(self._root, table, children)
        if world:  # not every launcher says how many ranks it has started
            missing = sorted({*missing, *self._ever} - self.ranks.keys())
            self._ever |= self.ranks
        elif self._ever:  # what is left of the launcher is not a rank
            self.ranks, missing = {}, sorted(self._ever)
        rows: list[list[Any]] = []
        works: list[Work] = []
        below: set[int] = set()
        printed = _printed(self._root, own=False)
        before, past_s = self._before, now_s - self._looked_at
        self._before, self._looked_at = {}, now_s
        for rank, pid in sorted(self.ranks.items()):
            tree = [table[pid], *_all_below(pid, children)]
            chain = _chain(table[pid], children)
            below |= {process.pid for process in tree[1:]}
            for process in chain:
                printed |= _printed(process.pid, own=True)
            works.append(self._work(tree, before.get((pid, table[pid].start)), past_s, alone=world < 2))
            rows.append([rank if world else None, pid, _state(chain, works[-1].waits), works[-1].waits])
        rows += [[rank, self._ever.get(rank), "gone", False] for rank in missing]
        signs = {work.sign for work in works if work.sign}
        if self._below is not None and below - self._below:
            signs.add("new processes")
        self._output += any(
            self._printed.get(key, "0" if key[0] == "file" else value) != value for key, value in printed.items()
        )
        self._printed, self._below = printed, below
        busy = sorted({work.busy for work in works if work.busy})
        return {"ranks": rows, "output": self._output, "busy": ", ".join(busy), "sign": ", ".join(sorted(signs))}

    def _work(self, tree: list[Process], before: Counters | None, past_s: float, *, alone: bool) -> Work:
        """Of one rank since the last look."""
        now = _counters(tree)
        if now is None:
            return Work(sign="what it does cannot be seen")
        self._before[tree[0].pid, tree[0].start] = now
        if before is None or past_s <= 0:
            return Work()
        second = past_s * TICKS_PER_S
        own, below = (now.ticks - before.ticks) / second, (now.ticks_below - before.ticks_below) / second
        moved, sleeps = (now.moved - before.moved) / past_s, (now.sleeps - before.sleeps) / past_s
        if moved >= MOVES_PER_S:
            return Work(busy="storage")
        if below >= WORKS or (own >= WORKS and (alone or not self._uses_gpu(tree))):
            return Work(busy="processors")
        # Waiting for another GPU is a loop in the main thread: it uses the processor and never sleeps. One that trains
        # sleeps during each backward pass, which another thread runs.
        if now.write_calls > before.write_calls or (own >= WORKS and sleeps >= 1):
            return Work(sign="calls of its own")
        if any(_waits_for_storage(process.pid) for process in tree):
            return Work(sign="waits for storage")
        shrunk = below < 0 or moved < 0  # a process below it has ended and left nothing to compare with
        return Work(waits=not shrunk and own + below <= WAITS + 1 / second and moved < MOVES_PER_S / 10)

    def _uses_gpu(self, tree: list[Process]) -> bool:
        self._gpu = self._gpu or any(_opened(process.pid, GPU_FILES) for process in tree)
        return self._gpu


# --- who is a rank ---


def _ranks(root: int, table: dict[int, Process], children: dict[int, list[Process]]) -> tuple[Ranks, int, list[int]]:
    """(pid by rank, size of the job, ranks of this launcher that are gone). Without ranks, 0 for the size, the launcher is the only one."""
    found: Ranks = {}
    numbers: dict[str, dict[str, str]] = {}
    todo = [table[root]] if root in table else []
    while todo:
        process = todo.pop()
        environment = _environment(process.pid)
        rank = environment.get("RANK", "")
        if rank.isdigit():  # what it starts inherits the variable
            found[int(rank)], numbers[rank] = process.pid, environment
        else:
            todo += children.get(process.pid, [])
    if not found:
        return ({0: root} if root in table else {}), 0, []
    rank, environment = next(iter(numbers.items()))
    first = int(rank) - _number(environment.get("LOCAL_RANK"), 0)
    here = range(first, first + _number(environment.get("LOCAL_WORLD_SIZE"), 0))
    return found, _number(environment.get("WORLD_SIZE"), len(found)), [number for number in here if number not in found]


def _number(text: str | None, default: int) -> int:
    return int(text) if text is not None and text.isdigit() and len(text) < 8 else default


def _environment(pid: int) -> dict[str, str]:
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0"))
    return {name: value for name, _, value in pairs if name.endswith(("RANK", "WORLD_SIZE"))}


def _all_below(pid: int, children: dict[int, list[Process]]) -> list[Process]:
    found, todo = [], [pid]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += [process.pid for process in below]
    return found


def _chain(process: Process, children: dict[int, list[Process]]) -> list[Process]:
    """The process, its only child, and so on."""
    chain = [process]
    while len(chain) < CHAIN and len(only := children.get(chain[-1].pid, [])) == 1:
        chain += only
    return chain


# --- what one process tells ---


def _processes() -> list[Process]:
    """Every process that has not ended."""
    found = []
    for entry in os.listdir(PROC):
        if entry.isdigit():
            try:
                fields = (PROC / entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] not in "ZXx":
                    used, ended = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
                    found.append(Process(int(entry), int(fields[1]), fields[0], used, ended, int(fields[19])))
            except (OSError, ValueError, IndexError):
                continue  # ended while we looked
    return found


def _lines(pid: int, name: str) -> dict[str, str]:
    """/proc/PID/io, /proc/PID/status. Raises OSError."""
    pairs = (line.partition(":") for line in (PROC / str(pid) / name).read_text(errors="replace").splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _counters(tree: list[Process]) -> Counters | None:
    """None where the kernel does not show them to us."""
    own = tree[0]
    try:
        moved = [_lines(process.pid, "io") for process in tree]
        write_calls, sleeps = int(moved[0]["syscw"]), int(_lines(own.pid, "status")["voluntary_ctxt_switches"])
        # rchar and wchar: a file system may be a program (FUSE) or the network; the other two: files in memory maps.
        total = sum(int(io[key]) for io in moved for key in ("rchar", "wchar", "read_bytes", "write_bytes"))
    except (OSError, KeyError, ValueError):
        return None
    below = own.ticks_of_ended + sum(process.ticks + process.ticks_of_ended for process in tree[1:])
    return Counters(own.ticks, below, total, write_calls, sleeps)


def _waits_for_storage(pid: int) -> bool:
    """Whether one of its threads sleeps where no signal wakes it (D): a sync of what was written long before moves no byte."""
    try:
        for task in os.listdir(PROC / str(pid) / "task"):
            text = (PROC / str(pid) / "task" / task / "stat").read_text(errors="replace")
            if text.rpartition(")")[2].split()[0] == "D":
                return True
    except (OSError, IndexError):
        pass  # a thread has ended; the next look comes soon
    return False


def _state(chain: list[Process], waits: bool) -> str:
    for process in chain:
        try:
            traced = process.state == "t" or _lines(process.pid, "status").get("TracerPid", "0") != "0"
        except OSError:
            traced = False
        if traced:
            return "traced"
    # A child that is stopped matters where the rank waits for it: a script may keep a helper stopped that it does not need now.
    stopped = chain[0].state == "T" or (waits and any(process.state == "T" for process in chain))
    return "stopped" if stopped else "lives"


def _printed(pid: int, *, own: bool) -> Printed:
    """Where stdout and stderr are files: their sizes. A pipe does not tell: then all that the process wrote counts (`own`)."""
    found: Printed = {}
    for number in (1, 2):
        try:
            where = os.stat(PROC / str(pid) / "fd" / str(number))
            if modes.S_ISREG(where.st_mode):
                found["file", where.st_ino] = str(where.st_size)
            elif own:
                found["process", pid] = _lines(pid, "io").get("wchar", "")
        except OSError:
            continue  # closed, ended, or not ours to see
    return found


def _opened(pid: int, names: tuple[str, ...]) -> bool:
    try:
        for number in os.listdir(PROC / str(pid) / "fd"):
            if os.readlink(PROC / str(pid) / "fd" / number).startswith(names):
                return True
    except OSError:
        pass
    return False
