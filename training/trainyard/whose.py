"""A file or folder that this process may not use: whose it is, as whom this process runs, and what to do, in the same words everywhere.

A new volume belongs to root, and an image may run as somebody else: shared-docs/decisions/0026-whose-a-volume-is.md.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

DAC_OVERRIDE = 1 << 1
"""The capability with which root may use anybody's files. A pod of ours has none: root is a user like others there."""
IN_A_POD = "KUBERNETES_SERVICE_HOST"


def reason(error: OSError) -> str:
    """What the system says, and of a PermissionError whose the thing is."""
    said = whose(error)
    return f"{error.strerror}: {said}" if said else f"{error.strerror}"


def whose(error: OSError) -> str:
    """`/trainyard belongs to user 0, group 0 (drwxr-xr-x), and this process is user 1000, group 1000`; "" for any other error."""
    barrier, about = _barrier(error)
    if about is None:
        return ""
    groups = sorted({os.getegid(), *os.getgroups()})
    ours = f"user {os.geteuid()}, group{'s' if len(groups) > 1 else ''} {', '.join(map(str, groups))}"
    owner = f"user {about.st_uid}, group {about.st_gid} ({stat.filemode(about.st_mode)})"
    return f"{barrier} belongs to {owner}, and this process is {ours}"


def remedy(error: OSError) -> str:
    """What to do about a PermissionError; "" for any other error."""
    barrier, about = _barrier(error)
    if about is None:
        return ""
    user = os.geteuid()
    if user == 0 != about.st_uid and not _capabilities() & DAC_OVERRIDE and IN_A_POD in os.environ:
        as_owner = f"run the job as that user, cluster.security.run_as_user: {about.st_uid} (--run-as-user {about.st_uid})"
        return f"{as_owner}: root in a pod has no capabilities, so it may use its own files alone"
    if user in (0, about.st_uid):
        return "the file system's server refuses this user (root_squash, a read-only export): allow it in the export rules"
    give = f"give it to this user once, as root: chown -R {user} {barrier}"
    if IN_A_POD in os.environ:
        return f"run the job as root with cluster.security.run_as_user: 0 (--run-as-user 0), or {give}"
    return give


def _barrier(error: OSError) -> tuple[Path, os.stat_result | None]:
    """The file, or the folder above it, that keeps this process out; without a stat for what is no PermissionError, or names no file."""
    if not isinstance(error, PermissionError) or error.filename is None:
        return Path(), None
    path = Path(os.fsdecode(error.filename)).absolute()
    there = [(each, about) for each in (path, *path.parents) if (about := _stat(each))][:2]
    refusing = [row for row in there if not os.access(row[0], os.R_OK | os.W_OK, effective_ids=True)]
    return next(iter(refusing or there), (path, None))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # not there, or behind a folder that lets nobody through
        return None


def _capabilities() -> int:
    """Effective ones of this process; all where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return -1
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), -1)
