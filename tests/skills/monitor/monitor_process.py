"""How a run folder names a living process."""

from __future__ import annotations

import secrets
from pathlib import Path

RUN_ID = secrets.token_hex(8)
"""Of this process alone: another one that runs tests beside it has living processes too."""


def identity(pid: int) -> dict[str, object]:
    """As run-folder.md tells: boot id, pid, field 22 of /proc/<pid>/stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return {"boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip(), "pid": pid, "start_time": int(fields[19])}
