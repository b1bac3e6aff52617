"""What a run has left behind: processes, held locks, shared memory, listening ports."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from tests.training.exact import processes

SHM = Path("/dev/shm")
LISTEN = "0A"


def leftovers(run_id: str, run_dir: Path, *, shm_before: set[str], sockets: set[str]) -> list[str]:
    """One line for each thing of the run that is still there; [] is what everybody wants.

    `shm_before` is `shared_memory()` before the run, `sockets` what `listening_sockets` found while it ran.
    """
    found = [f"process {process}" for process in processes.of_run(run_id)]
    found += [f"lock {path} is held" for path in [run_dir / "runner.lock"] if _is_locked(path)]
    found += _checkpoint_holder(run_dir / "checkpoints" / "lock.json")
    found += [f"shared memory /dev/shm/{name}" for name in sorted(shared_memory() - shm_before) if not _is_mapped(name)]
    found += [f"listening port {port}" for inode, port in _listening().items() if inode in sockets]
    return found


def shared_memory() -> set[str]:
    """Names of shared memory objects; a folder in there is somebody's scratch disk."""
    return {entry.name for entry in os.scandir(SHM) if entry.is_file(follow_symlinks=False)}


def listening_sockets(run_id: str) -> set[str]:
    """Inodes of the sockets on which processes of the run listen now: an inode, unlike a port, is not handed out again soon."""
    found = set()
    for process in processes.of_run(run_id):
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{process.pid}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(entry.path)
                    if target.startswith("socket:["):
                        found.add(target[8:-1])
    return found & _listening().keys()


def _listening() -> dict[str, int]:
    """Inode -> port of every listening TCP socket of this machine."""
    found = {}
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTEN:
                    found[fields[9]] = int(fields[1].rpartition(":")[2], 16)
    return found


def _is_locked(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _checkpoint_holder(path: Path) -> list[str]:
    """A dead holder may still be named, for a killed process cannot sign off; a living one may not."""
    try:
        holder = json.loads(path.read_bytes())["holder"]
    except FileNotFoundError:
        return []
    if holder and processes.Process(holder["pid"], holder["start_time"], "holder").is_alive():
        return [f"lock {path} is held by living process {holder['pid']}"]
    return []


def _is_mapped(name: str) -> bool:
    """Whether a living process has this shared memory mapped or open: then it is in use, by whomever, and not left behind."""
    path = str(SHM / name)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if path in (entry / "maps").read_text(errors="replace"):
                return True
            for handle in os.scandir(entry / "fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(handle.path).startswith(path):
                        return True
    return False
