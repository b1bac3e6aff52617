"""Processes: who belongs to a run, and how to end them all. Linux, standard library only."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from trainyard_process import (
    DEAD_STATES,
    PROC,
    Identity,
    Stat,
    boot_id,
    environment,
    identify,
    is_alive,
    same_place,
    serves,
    stat,
)

FIRST_POLL_S, LONGEST_POLL_S = 0.02, 0.25


def send(process: Identity, signal_number: int) -> bool:
    """Signal exactly this process; False when it is gone. Raises PermissionError when it is another user's."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(process):  # the handle pins the pid, so this look is not too early
            return False
        signal.pidfd_send_signal(handle, signal_number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def _all_stats() -> dict[int, Stat]:
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return {pid: found for pid in pids if (found := stat(pid))}


def _family(stats: dict[int, Stat], root: int) -> set[int]:
    """Pids of all descendants of `root`."""
    children: dict[int, list[int]] = {}
    for pid, found in stats.items():
        children.setdefault(found.parent_pid, []).append(pid)
    family: set[int] = set()
    todo = [root]
    while todo:
        new = [pid for pid in children.get(todo.pop(), []) if pid not in family]
        family.update(new)
        todo += new
    return family


def of_run(
    run_id: str | None, run_dir: Path, *, family_of: int | None = None, except_pids: Iterable[int] = ()
) -> list[Identity]:
    """Living processes of the run in `run_dir`: those started with its TRAINYARD_RUN_ID, and the descendants of `family_of`.

    Where nothing tells the run id any more, those that were started for this very folder.
    A process that left its session and its parents keeps the environment; one that wiped its environment keeps its
    place below the supervisor, which is a child subreaper.
    """
    stats, boot = _all_stats(), boot_id()
    pids = _family(stats, family_of) if family_of is not None else set()
    pids |= {pid for pid in stats if _belongs(environment(pid), run_id, run_dir)}
    pids -= {*except_pids, os.getpid()}
    return [Identity(boot, pid, stats[pid].start_time) for pid in sorted(pids) if stats[pid].state not in DEAD_STATES]


def _belongs(variables: Mapping[str, str], run_id: str | None, run_dir: Path) -> bool:
    if run_id is None:
        told = variables.get("TRAINYARD_RUN_DIR")
        return told is not None and same_place(told, run_dir) is True
    return variables.get("TRAINYARD_RUN_ID") == run_id and serves(variables, run_dir)


def supervisor_of_folder(run_dir: Path) -> Identity | None:
    """The supervisor as its command line tells it, for the time in which runner.json is not readable."""
    for pid in _all_stats():
        words = arguments_of(pid)
        for program, folder in itertools.pairwise(words):
            if os.path.basename(program) == "local_supervisor.py" and same_place(folder, run_dir):
                return identify(pid)
    return None


def arguments_of(pid: int) -> list[str]:
    """The command line of `pid`; [] when it is gone."""
    try:
        raw = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return raw.decode(errors="replace").split("\0")[:-1]


def end_all(
    find: Callable[[], list[Identity]], *, grace_s: float, kill_timeout_s: float = 20.0, idle: Callable[[], None] = lambda: None
) -> list[Identity]:
    """SIGTERM once to whatever `find` returns, SIGKILL after `grace_s`; what still lives `kill_timeout_s` later.

    `idle` runs between two looks (the supervisor reaps its children there).
    """
    start, poll_s = time.monotonic(), FIRST_POLL_S
    asked: set[Identity] = set()
    while left := find():
        waited_s = time.monotonic() - start
        if waited_s > grace_s + kill_timeout_s:
            return left
        for process in left:
            if waited_s >= grace_s:
                send(process, signal.SIGKILL)
            elif process not in asked:
                send(process, signal.SIGTERM)
                asked.add(process)
        idle()
        time.sleep(poll_s)
        poll_s = min(poll_s * 1.5, LONGEST_POLL_S)
        idle()
    return []
