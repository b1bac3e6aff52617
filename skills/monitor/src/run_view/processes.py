"""Which processes live: by boot id, pid and start time, or by the run id in their environment. Linux only."""

from __future__ import annotations

import os
from pathlib import Path

from trainyard_process import PROC, Identity, ancestors, environment, is_alive, serves, stat


def booted_at() -> float | None:
    """Wall time at which this machine was started."""
    try:
        lines = (PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)


def lives(identity: Identity, run_dir: Path | None = None) -> bool:
    """True when this very process runs here, for the run in `run_dir` and not for one that it is a copy of; a zombie does not."""
    return is_alive(identity) and (run_dir is None or serves(environment(identity.pid), run_dir))


def pids_of_run(run_id: str, run_dir: Path) -> list[int]:
    """Living processes of the run in this folder; those of other users are invisible without root.

    This process and those that started it are left out: a shell with the run's variables is no part of the run.
    """
    own = ancestors(os.getpid())
    pids = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    told = {pid: environment(pid) for pid in pids if pid not in own}  # empty for a zombie
    return sorted(
        pid for pid, variables in told.items() if variables.get("TRAINYARD_RUN_ID") == run_id and serves(variables, run_dir)
    )


def ranks_of_run(run_id: str, run_dir: Path, launcher: int | None) -> list[tuple[int | None, int, str]]:
    """(rank, pid, state as in /proc/<pid>/stat) of each worker; without ranks, the launcher with None for a rank."""
    found, ranks = [], {pid: _rank(pid) for pid in pids_of_run(run_id, run_dir)}
    for pid, rank in ranks.items():
        seen = stat(pid)
        # Its own children carry its RANK too: the worker is the one whose parent does not.
        if rank is not None and seen and ranks.get(seen.parent_pid) != rank:
            found.append((rank, pid, seen.state))
    if not found and launcher is not None and (seen := stat(launcher)):
        return [(None, launcher, seen.state)]
    return sorted(found)


def _rank(pid: int) -> int | None:
    rank = environment(pid).get("RANK", "")
    return int(rank) if rank.isdecimal() and len(rank) < 9 else None
