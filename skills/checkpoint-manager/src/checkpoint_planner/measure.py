"""What one folder's disk really takes: write, fsync, forget."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import trainyard_shell as shell

BLOCK_BYTES = 8 << 20
LARGEST_BYTES = 1 << 30
LEAST_BYTES = 64 << 20
SHARE_OF_FREE = 10
"""At most one part in so many of what is free."""
SYNC_BYTES = 64 << 20
LONGEST_S = 20.0


@dataclass(frozen=True)
class Measured:
    size_bytes: int
    seconds: float

    @property
    def bytes_per_s(self) -> float:
        return self.size_bytes / self.seconds


def measure(folder: str) -> Measured:
    """Write up to 1 GiB into a file without a name in `folder`, fsync it, and let it go.

    The file is gone when this returns, and when it is killed. Bounded by a tenth of the free space, and by LONGEST_S seconds, counted
    whenever 64 MiB are durable. Raises SkillError.
    """
    path = Path(folder)
    if not path.is_dir():
        raise shell.SkillError("not-found", f"{folder} is not a folder", hint="name a folder on the checkpoint volume")
    try:
        size = min(LARGEST_BYTES, _free_bytes(path) // SHARE_OF_FREE) // BLOCK_BYTES * BLOCK_BYTES
        if size < LEAST_BYTES:
            raise shell.SkillError(
                "conflict",
                f"too little space in {folder} to measure: {SHARE_OF_FREE * LEAST_BYTES >> 20} MiB must be free",
                hint="free some, or give --write-bandwidth",
            )
        shell.progress(f"writing up to {size >> 20} MiB into {folder} ...")
        return _write(path, size)
    except PermissionError as error:
        raise shell.SkillError("permission", f"{folder}: {error.strerror}", hint="name a folder you may write to") from error
    except OSError as error:
        raise shell.SkillError("unreachable", f"{folder}: {error.strerror}", hint="name another folder") from error


def _free_bytes(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _write(folder: Path, size: int) -> Measured:
    block = memoryview(os.urandom(BLOCK_BYTES))  # not zeros: some disks compress
    # TemporaryFile has no name (O_TMPFILE), or loses it as soon as it is open: a killed measurement leaves nothing.
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        started, written = time.monotonic(), 0
        while written < size and time.monotonic() - started < LONGEST_S:
            written += os.write(file.fileno(), block)
            if written % SYNC_BYTES < BLOCK_BYTES:
                os.fsync(file.fileno())
        os.fsync(file.fileno())
        return Measured(written, max(time.monotonic() - started, 1e-9))
