"""Which processes live: by boot id, pid and start time, or by the run id in their environment. Linux only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from run_folder.records import Identity

PROC = Path("/proc")


def boot_id() -> str | None:
    """This boot of this machine; None where the kernel does not tell."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def booted_at() -> float | None:
    """Wall time at which this machine was started."""
    try:
        lines = (PROC / "stat").read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)


def stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat from `state` (field 3) on; None when there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()  # the name before it may hold spaces and parentheses


def lives(identity: Identity, run_dir: Path | None = None) -> bool:
    """True when this very process runs here, for the run in `run_dir` and not for one that it is a copy of; a zombie does not."""
    fields = stat_fields(identity.pid)
    if fields is None or identity.boot_id != boot_id():
        return False
    if fields[0] in "ZX" or int(fields[19]) != identity.start_time:
        return False
    return run_dir is None or _serves(PROC / str(identity.pid), run_dir)


def _ancestors() -> set[int]:
    """This process and those that started it: a shell with the run's variables is no part of the run."""
    pids, pid = set(), os.getpid()
    while pid > 1 and pid not in pids:
        pids.add(pid)
        fields = stat_fields(pid)
        pid = int(fields[1]) if fields else 0
    return pids


def _serves(entry: Path, run_dir: Path) -> bool:
    """Whether a process was started for the run in `run_dir`. A folder that is gone was moved here, or is nobody else's."""
    try:
        variables = (entry / "environ").read_bytes().split(b"\0")
    except OSError:
        return True
    told = next((each.partition(b"=")[2] for each in variables if each.startswith(b"TRAINYARD_RUN_DIR=")), None)
    try:
        return told is None or os.path.samefile(told, run_dir)
    except OSError:
        return True


def pids_of_run(run_id: str, run_dir: Path) -> list[int]:
    """Living processes of the run in this folder; those of other users are invisible without root."""
    wanted, found, own = f"TRAINYARD_RUN_ID={run_id}".encode(), [], _ancestors()
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) in own:
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0") and _serves(entry, run_dir):  # empty for a zombie
            found.append(int(entry.name))
    return sorted(found)


def ranks_of_run(run_id: str, run_dir: Path, launcher: int | None) -> list[tuple[int | None, int, str]]:
    """(rank, pid, state as in /proc/<pid>/stat) of each worker; without ranks, the launcher with None for a rank."""
    found, ranks = [], {pid: _rank(pid) for pid in pids_of_run(run_id, run_dir)}
    for pid, rank in ranks.items():
        fields = stat_fields(pid)
        # Its own children carry its RANK too: the worker is the one whose parent does not.
        if rank is not None and fields and ranks.get(int(fields[1])) != rank:
            found.append((rank, pid, fields[0]))
    if not found and launcher is not None and (fields := stat_fields(launcher)):
        return [(None, launcher, fields[0])]
    return sorted(found)


def _rank(pid: int) -> int | None:
    try:
        variables = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    rank = next((item[5:] for item in variables if item.startswith(b"RANK=")), b"")
    return int(rank) if rank.isdigit() and len(rank) < 9 else None
