"""Durable files: what is written here is on the disk when the call returns."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainyard.whose import IN_A_POD

MAX_JSON_BYTES = 1024 * 1024
"""Of a record; ours have a few hundred."""


def fsync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(files: dict[Path, bytes]) -> None:
    """Write and fsync; the names themselves are durable only after `fsync_folder`.

    All are written before the first fsync: a journaling file system then commits them together, and the other fsyncs are cheap.
    """
    with contextlib.ExitStack() as stack:
        opened = [(stack.enter_context(path.open("wb", buffering=0)), data) for path, data in files.items()]
        for file, data in opened:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        for file, _ in opened:
            os.fsync(file.fileno())


def write_atomically(path: Path, data: bytes, *, durably: bool = True) -> None:
    """Readers see the old content or the new one; with `durably` the new one also after a power cut."""
    # A name of its own: two writers must not share the temporary file. The leading dot hides it from scan().
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if durably:
            write_durably({temporary: data})
        else:
            temporary.write_bytes(data)
        temporary.rename(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durably:
        fsync_folder(path.parent)


def read_json_bounded(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any] | None:
    """The object in a file that others may have damaged or edited; None where there is none, whatever else is there.

    Raises OSError where the file is there and cannot be read: that says nothing about what is in it.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would be waited for
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        data = b""
        while len(data) <= max_bytes and (part := os.read(descriptor, max_bytes + 1 - len(data))):
            data += part
    finally:
        os.close(descriptor)
    if len(data) > max_bytes:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def is_leftover(name: str, targets: Iterable[str]) -> bool:
    """True for the temporary file that a killed `write_atomically` of one of `targets` left."""
    match = re.fullmatch(r"\.(.+)\.[0-9a-f]{8}", name)
    return match is not None and match[1] in targets


def remove_folder(folder: Path) -> None:
    """Remove a checkpoint so that a kill in between leaves no half of one under its name.

    Raises OSError for the first thing that cannot be removed (immutable, another user's, a mount point, a `.nfs` file that somebody
    has open), after all that can be.
    """
    doomed = folder
    if not folder.name.endswith(".tmp"):
        doomed = folder.with_name(f"{folder.name.partition('.')[0]}.removed.tmp")
        if os.path.lexists(doomed):
            _remove_tree(doomed)
        folder.rename(doomed)
    _remove_tree(doomed)


def _remove_tree(folder: Path) -> None:
    failures: list[BaseException] = []
    if sys.version_info >= (3, 12):
        shutil.rmtree(folder, onexc=lambda function, path, error: failures.append(error))
    else:
        shutil.rmtree(folder, onerror=lambda function, path, error: failures.append(error[1]))
    if failures:
        raise failures[0]


def make_run_folder(folder: Path) -> None:
    """Make a run folder that nobody but its user may look into, on a cluster's volume its group too: logs and reports may hold what the job
    was told. One that is there stays as it is. Raises OSError."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not folder.is_dir():
            raise
        return
    if IN_A_POD in os.environ:
        with contextlib.suppress(OSError):  # a file system without modes
            # With the volume's setgid bit, by which what is made inside belongs to the group of the job's pods.
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) & stat.S_ISGID | 0o770)


def make_folder(folder: Path) -> None:
    """Make a folder that others may be making too; a file of that name is kept under another."""
    try:
        folder.mkdir(exist_ok=True)
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):  # another rank was faster
            if stat.S_ISDIR(os.lstat(folder).st_mode):
                return
            folder.rename(folder.with_name(f"{folder.name}.file-{secrets.token_hex(4)}"))
        folder.mkdir(exist_ok=True)
