"""What a rank says of itself when it is asked: its stacks and its flight recorder, a file each, in the run folder. Standard library only.

`stacks/attempt-0003/rank-0001.txt` begins with a line of JSON that names the process (pid, start_time, signal, flight), and each signal
adds Python's stacks of all threads. `flight/attempt-0003/rank-0001.bin` is a dump of torch's flight recorder. Both are the rank's own.
Used by local-runner's supervisor too (a copy, byte for byte).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_STACKS_BYTES = 1 << 20
"""A rank cuts its file when it is longer; faulthandler prints 100 frames of 100 threads at most."""
MAX_HEAD_BYTES = 4096
SETTLED_S = 0.05
STACKS_S, FLIGHT_S = 1.5, 3.0
"""How long a rank that was asked is waited for. Its stacks come at once, the recorder's dump within half a second (flight.py)."""


def place(run_dir: Path, kind: str, attempt: int) -> Path:
    """`kind`: stacks or flight."""
    return run_dir / kind / f"attempt-{attempt:04d}"


def stacks_file(run_dir: Path, attempt: int, rank: int) -> Path:
    return place(run_dir, "stacks", attempt) / f"rank-{rank:04d}.txt"


def flight_file(run_dir: Path, attempt: int, rank: int) -> Path:
    return place(run_dir, "flight", attempt) / f"rank-{rank:04d}.bin"


@dataclass(frozen=True)
class Asked:
    """One rank that was asked, and how its files stood before."""

    stacks: Path
    flight: Path
    size: int
    changed_ns: int
    has_flight: bool


def newest_attempt(run_dir: Path, kind: str) -> int | None:
    """That has left such files; None where none has."""
    try:
        names = [entry.name.removeprefix("attempt-") for entry in os.scandir(run_dir / kind)]
    except OSError:
        return None
    return max((int(name) for name in names if name.isdecimal() and len(name) < 9), default=None)


def before(run_dir: Path, ranks: Mapping[int, int]) -> dict[int, Asked]:
    """Of those among `ranks` (pid by rank) whose own file says that this very process writes it."""
    found: dict[int, Asked] = {}
    attempt = newest_attempt(run_dir, "stacks")
    if attempt is None:
        return found
    for rank, pid in ranks.items():
        stacks, flight = stacks_file(run_dir, attempt, rank), flight_file(run_dir, attempt, rank)
        head = head_of(stacks)
        if head.get("pid") == pid:
            found[rank] = Asked(stacks, flight, _size(stacks), _changed_ns(flight), head.get("flight") is True)
    return found


def head_of(path: Path) -> dict[str, Any]:
    """The first line of a rank's file of stacks; {} where it has none."""
    try:
        head = json.loads(_read(path, 0, MAX_HEAD_BYTES).split(b"\n")[0])
    except (OSError, ValueError, RecursionError):
        return {}
    return head if isinstance(head, dict) else {}


def answers(asked: Mapping[int, Asked]) -> dict[int, str]:
    """What each wrote since `before`, once it has come to its end; a rank that says nothing within STACKS_S is left out."""
    deadline = time.monotonic() + STACKS_S
    sizes = dict.fromkeys(asked, -1)
    while time.monotonic() < deadline:
        time.sleep(SETTLED_S)
        now = {rank: _size(one.stacks) for rank, one in asked.items()}
        if all(now[rank] == sizes[rank] > one.size for rank, one in asked.items()):
            break
        sizes = now
    found = {rank: _since(one) for rank, one in asked.items()}
    return {rank: text for rank, text in found.items() if text}


def wait_for_flight(asked: Mapping[int, Asked]) -> list[int]:
    """The ranks whose recorder was written since `before`, after FLIGHT_S at most."""
    deadline = time.monotonic() + FLIGHT_S
    while True:
        done = [rank for rank, one in asked.items() if one.has_flight and _changed_ns(one.flight) != one.changed_ns]
        if len(done) == sum(one.has_flight for one in asked.values()) or time.monotonic() >= deadline:
            return done
        time.sleep(SETTLED_S)


def _since(asked: Asked) -> str:
    try:
        size = _size(asked.stacks)
        # A rank that cut its file meanwhile has kept the end of it.
        begin = asked.size if size >= asked.size else 0
        return _read(asked.stacks, begin, MAX_STACKS_BYTES).decode(errors="replace")
    except OSError:
        return ""


def _read(path: Path, begin: int, most: int) -> bytes:
    """Raises OSError; a pipe in the file's place has nothing to read and is not waited for."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return os.pread(handle, most, begin)
    finally:
        os.close(handle)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
