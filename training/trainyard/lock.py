"""The lock of a checkpoint folder: it belongs to a run id, and every start of that run takes it with the next incarnation."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainyard.checkpoint_format import ANY_RUN, LOCK, committed, scan
from trainyard.errors import FolderError
from trainyard.files import write_atomically
from trainyard.process import identity, is_alive


@dataclass(frozen=True)
class Lock:
    """This start's right to write into `root`."""

    root: Path
    run_id: str
    incarnation: int
    origin: dict[str, Any] | None
    """The explicit restore ({"requested", "step"}) that this run began with; None when it began with the newest."""

    def still_held(self) -> bool:
        """False once another start has taken over; read before anything is renamed into place."""
        now = read_lock(self.root)
        # The holder too: two starts that read the file at the same moment take the same incarnation, and the later writer has it.
        ours = (self.run_id, self.incarnation, identity())
        return bool(now) and (now["run_id"], now["incarnation"], now.get("holder")) == ours

    def release(self) -> None:
        """Keep whose folder it is, drop who holds it."""
        if self.still_held():
            _write(self, holder=None)

    def with_origin(self, origin: dict[str, Any]) -> Lock:
        """Record the explicit restore, so that restarts of this run go on from the newest step instead."""
        if not self.still_held():
            raise FolderError(f"{self.root}: another start of this run has taken this folder over")
        lock = Lock(self.root, self.run_id, self.incarnation, origin)
        _write(lock, holder=identity())
        return lock


def read_lock(root: Path) -> dict[str, Any]:
    """The content of lock.json; {} when there is none. A lock that cannot be read is an error: never guess whose it is."""
    try:
        content = json.loads((root / LOCK).read_bytes())
        if content["format"] == 1 and isinstance(content["run_id"], str) and isinstance(content["incarnation"], int):
            return dict(content)
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError):
        pass
    raise FolderError(f"{root / LOCK} is not a lock file of this format; if no job uses this folder, move that file away")


def take(root: Path) -> Lock:
    """Take the folder for this start; called by rank 0 only.

    The same run takes over at once. Another run id is refused whatever its state, for its checkpoints are not ours to
    continue. A script started by hand (no TRAINYARD_RUN_ID) goes on with the folder's run, unless its holder lives; without a lock
    file that is the run of the newest step.
    """
    run_id, found = os.environ.get("TRAINYARD_RUN_ID"), read_lock(root)
    if found and run_id != found["run_id"]:
        holder = found.get("holder")
        if run_id:
            raise FolderError(
                f"{root} holds the checkpoints of run {found['run_id']}; this is run {run_id}. Give this run a folder of its own"
            )
        alive = is_alive(holder) if holder else False
        if holder and alive is not False:
            used = "is in use by" if alive else "was last used, and maybe still is, by"
            raise FolderError(
                f"{root} {used} process {holder['pid']} on {holder['host']} (run {found['run_id']}). "
                f"Stop that one first, or use another folder{'' if alive else f'; if it is gone, move {root / LOCK} away'}"
            )
        run_id = found["run_id"]
    if not found and not run_id:
        run_id = _run_of_the_newest(root)
    lock = Lock(root, run_id or secrets.token_hex(8), found.get("incarnation", 0) + 1, found.get("origin"))
    _write(lock, holder=identity())
    if not lock.still_held():
        raise FolderError(f"{root}: another process took this folder at the same moment; start this one again")
    return lock


def _run_of_the_newest(root: Path) -> str | None:
    """Without a lock file (moved away, or not copied along) the steps still say whose folder this is; None where there are none."""
    steps = [entry.manifest for entry in committed(scan(root, ANY_RUN)) if entry.manifest is not None]
    return str(steps[-1]["run_id"]) if steps else None


def _write(lock: Lock, holder: dict[str, Any] | None) -> None:
    content = {
        "format": 1,
        "run_id": lock.run_id,
        "incarnation": lock.incarnation,
        "holder": holder,
        "origin": lock.origin,
    }
    write_atomically(lock.root / LOCK, json.dumps(content).encode())
