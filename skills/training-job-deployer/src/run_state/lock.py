"""The lock of a run, held while it is submitted or its run.json changes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trainyard_shell as shell
from trainyard_files import missing, remove_empty


@contextmanager
def locked(run_dir: Path, *, timeout_s: float = 20.0) -> Iterator[None]:
    """Held while a run is submitted or its run.json changes. It lies outside the run folder, which may be set aside."""
    held: list[int] = []
    path = run_dir.parent / f".{run_dir.name}.lock"
    made = missing(path)
    try:
        run_dir.parent.mkdir(parents=True, exist_ok=True)
        if not shell.wait_until(lambda: _try_lock(path, held), timeout_s=timeout_s, interval_s=0.1):
            message = f"another deploy.py is at work on {run_dir.name}"
            raise shell.SkillError("timeout", message, hint="the same call again in a moment", retryable=True)
        yield
    except BaseException as error:
        if not os.path.lexists(run_dir):  # nothing came of it: what was made for it goes again
            remove_empty([each for each in made if held or each != path])
        if isinstance(error, OSError) and not held:
            raise shell.cannot_write(run_dir.parent, error, "--state-dir puts the run elsewhere") from error
        raise
    finally:
        for handle in held:
            os.close(handle)  # ends the lock


def _try_lock(path: Path, held: list[int]) -> bool:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):  # else whoever held it took the file away
            held.append(handle)
            return True
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return False
