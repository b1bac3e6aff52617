"""The lock of a checkpoint folder: it belongs to a run id, and every start of that run takes it with the next incarnation."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainyard.checkpoint_bytes import MissingError, read_json
from trainyard.checkpoint_format import ANY_RUN, LOCK, MAX_LOCK_BYTES, committed, is_count, scan
from trainyard.errors import FolderError
from trainyard.fence import entered, is_listed, own_attempt
from trainyard.files import write_atomically
from trainyard.patience import PATIENT, UNREADABLE, Patience, told
from trainyard.process import identity, is_alive


@dataclass(frozen=True)
class Lock:
    """This start's right to write into `root`."""

    root: Path
    run_id: str
    incarnation: int
    origin: dict[str, Any] | None
    """The explicit restore ({"requested", "step"}) that this run began with; None when it began with the newest."""
    attempts: tuple[str, ...] = ()
    """Attempts that may overlap, in the order in which they came; () where none can (fence.py)."""

    def still_held(self, patience: Patience = PATIENT) -> bool:
        """False once another start has taken over; read before anything is renamed into place.

        Raises FolderError when the lock cannot be read: that is neither yes nor no.
        """
        now = read_lock(self.root, patience)
        # The holder too: two starts that read the file at the same moment take the same incarnation, and the later writer has it.
        ours = (self.run_id, self.incarnation, identity())
        return bool(now) and (now["run_id"], now["incarnation"], now.get("holder")) == ours

    def release(self) -> None:
        """Keep whose folder it is, drop who holds it."""
        if self.still_held(Patience(0.0)):  # nobody waits for the end of a process because of this
            _write(self, holder=None)

    def with_origin(self, origin: dict[str, Any]) -> Lock:
        """Record the explicit restore, so that restarts of this run go on from the newest step instead."""
        if not self.still_held():
            raise FolderError(f"{self.root}: another start of this run has taken this folder over")
        lock = replace(self, origin=origin)
        _write(lock, holder=identity())
        return lock


@dataclass
class Claim:
    """The folder's lock as it reads now: rank 0 records in it what a run began with, and gives it back."""

    lock: Lock

    def release(self) -> None:
        with contextlib.suppress(OSError, FolderError):  # a holder that is dead is as good as none
            self.lock.release()


def read_lock(root: Path, patience: Patience = PATIENT) -> dict[str, Any]:
    """The content of lock.json; {} when there is none. Raises FolderError for any other: never guess whose folder it is.

    Bounded, and typed as the readers rely on it: whatever stands in that file is refused in words, and never a traceback.
    """
    path = root / LOCK
    try:
        content = patience.read(lambda: _content(path), path)
    except (ValueError, TypeError) as error:
        raise FolderError(
            f"{path} is not a lock file of this format ({str(error)[:100]}); if no job uses this folder, move that file away"
        ) from None
    except (MissingError, *UNREADABLE) as error:
        raise FolderError(
            f"the lock of the checkpoint folder cannot be read, so nothing says whose it is: {told(error)}; "
            "start again when the disk answers"
        ) from error
    return content


def _content(path: Path) -> dict[str, Any]:
    """Raises ValueError, TypeError for what no start of a run has written."""
    try:
        content = read_json(path, MAX_LOCK_BYTES)
    except FileNotFoundError:  # no reason for patience: the job's own starts made it, or nobody did
        return {}
    if not isinstance(content, dict) or content.get("format") != 1:
        raise ValueError("format is not 1")
    if not isinstance(content.get("run_id"), str) or not content["run_id"]:
        raise ValueError("run_id is not a text")
    if not is_count(content.get("incarnation")):
        raise ValueError("incarnation is not a number")
    if not is_listed(content.get("attempts", [])):
        raise ValueError("attempts is not a list of attempts")
    holder, origin = content.get("holder"), content.get("origin")
    if holder is not None and not _is_identity(holder):
        raise ValueError("holder is not a process")
    if origin is not None and not (isinstance(origin, dict) and isinstance(origin.get("requested"), str) and "step" in origin):
        raise ValueError("origin is not a restore")
    return content


def _is_identity(holder: Any) -> bool:
    if not isinstance(holder, dict) or not is_count(holder.get("pid")):
        return False
    started = holder.get("start_time")
    return (started is None or is_count(started)) and all(isinstance(holder.get(key), str) for key in ("host", "boot_id"))


def take(root: Path, patience: Patience = PATIENT) -> Lock:
    """Take the folder for this start; called by rank 0 only.

    The same run takes over at once. Another run id is refused whatever its state, for its checkpoints are not ours to
    continue. A script started by hand (no TRAINYARD_RUN_ID) goes on with the folder's run, unless its holder lives; without a lock
    file that is the run of the newest step.
    """
    run_id, found = os.environ.get("TRAINYARD_RUN_ID"), read_lock(root, patience)
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
    attempts = _entered(root, found)
    lock = Lock(root, run_id or secrets.token_hex(8), found.get("incarnation", 0) + 1, found.get("origin"), attempts)
    _write(lock, holder=identity())
    if not lock.still_held():
        raise FolderError(f"{root}: another process took this folder at the same moment; start this one again")
    return lock


def _entered(root: Path, found: dict[str, Any]) -> tuple[str, ...]:
    try:
        return tuple(entered(found.get("attempts", []), own_attempt()))
    except FolderError as error:
        raise FolderError(f"{root}: {error}") from None


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
        **({"attempts": list(lock.attempts)} if lock.attempts else {}),
    }
    write_atomically(lock.root / LOCK, json.dumps(content).encode())
