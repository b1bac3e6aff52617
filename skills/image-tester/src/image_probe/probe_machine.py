"""User, home, working directory, temporary files and shared memory, as the container has them."""

from __future__ import annotations

import os
import pwd
import stat
import tempfile

from image_probe.probe_report import Failed, Report


def user(report: Report, item: dict[str, object]) -> dict[str, object]:
    """Who runs, and where it may write on a cluster. The root file system is read-only here, so modes are read, not tried."""
    report.step("read user and folders")
    try:
        name: str | None = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = None
    home, folder = os.environ.get("HOME"), str(item["folder"])
    return {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "name": name,
        "home": home,
        "home_writable": bool(home) and may_write(str(home)),
        "folder": folder,
        "folder_exists": os.path.isdir(folder),
        "folder_readable": os.access(folder, os.R_OK | os.X_OK),
        "folder_writable": may_write(folder),
    }


def may_write(path: str) -> bool:
    """By owner, group and mode of the folder, whatever the mount says."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    if os.getuid() in (0, found.st_uid):
        return os.getuid() == 0 or bool(found.st_mode & stat.S_IWUSR)
    if found.st_gid in (os.getgid(), *os.getgroups()):
        return bool(found.st_mode & stat.S_IWGRP)
    return bool(found.st_mode & stat.S_IWOTH)


def shm(report: Report, item: dict[str, object]) -> dict[str, object]:
    """The size of /dev/shm, and that `bytes` of it can really be written: a tmpfs gives a size and SIGBUS at its end."""
    report.step("look at /dev/shm")
    try:
        found = os.statvfs("/dev/shm")
    except OSError as error:
        raise Failed(f"/dev/shm: {error.strerror}") from None
    size, want = found.f_frsize * found.f_blocks, int(str(item["bytes"]))
    free = found.f_frsize * found.f_bavail
    if free < want:
        raise Failed(f"/dev/shm has {free >> 20} MiB free of {size >> 20}, and {want >> 20} are wanted")
    report.step("write into /dev/shm")
    _write("/dev/shm", min(want, 16 << 20))
    return {"size_bytes": size, "free_bytes": free, "wanted_bytes": want}


def disk(report: Report, item: dict[str, object]) -> dict[str, object]:
    """Where Python puts temporary files, and that they can be written and mapped as code (compiled kernels are)."""
    report.step("find the temporary folder")
    try:
        folder = tempfile.gettempdir()
    except OSError as error:
        raise Failed(f"no folder for temporary files: {error}") from None
    report.step("write into " + folder)
    try:
        _write(folder, 1 << 20)
    except OSError as error:
        raise Failed(f"{folder} cannot be written: {error.strerror}") from None
    found = os.statvfs(folder)
    return {"temporary": folder, "free_bytes": found.f_frsize * found.f_bavail}


def _write(folder: str, size_bytes: int) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        block = b"\0" * (1 << 20)
        for _ in range(size_bytes >> 20):
            file.write(block)
        file.flush()
