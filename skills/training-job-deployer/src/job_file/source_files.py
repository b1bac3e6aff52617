"""A cheap digest of the source folder: has the code that the job runs changed?

Only files that a person writes count (code and its configuration), by content: output that a job leaves in its own
folder must not look like a change of the program, and a fresh checkout of the same code must look the same.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

import trainyard_yaml
from trainyard_files import Unusable
from trainyard_job import Job

SUFFIXES = (".py", ".pyi", ".sh", ".toml", ".cfg", ".ini", ".yaml", ".yml", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".rs")
SKIPPED_FOLDERS = frozenset(
    ["__pycache__", "node_modules", "site-packages", "checkpoints", "tensorboard", "wandb", "build", "dist"]
)
MAX_FILES = 20_000
MAX_HASHED_BYTES = 1_000_000
MAX_JOB_FILE_BYTES = 64_000
LIKE_A_JOB_FILE = [re.compile(rb"(^|[{,])[\s\"'?]{0,8}%s[\"']?\s{0,8}:" % key, re.MULTILINE) for key in (b"name", b"run")]
"""Cheap to ask: the parser is for those that pass."""


def digest(source: Path, leave_out: Path | None = None) -> str:
    """16 hex digits. `leave_out` is the job file: its keys have a digest of their own. Job files beside it do not count."""
    total = hashlib.sha256()
    for path in files(source):
        if path != leave_out:
            total.update(f"{path.relative_to(source).as_posix()}\0{_one(path)}\n".encode(errors="surrogateescape"))
    return total.hexdigest()[:16]


def files(source: Path) -> Iterator[Path]:
    """Files that count, in order; folders that begin with a dot and virtual environments are left out."""
    count = 0
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not _skipped(Path(folder), name))
        for name in sorted(names):
            path = Path(folder, name)
            if name.endswith(SUFFIXES) and not name.startswith(".") and path.is_file() and not path.is_symlink():
                if name.endswith((".yaml", ".yml")) and _is_job_file(path):
                    continue
                count += 1
                if count > MAX_FILES:  # no project has so many; a data set beside it may, and it is not the program
                    return
                yield path


def newer_than(source: Path, time_s: float, limit: int = 5) -> list[str]:
    """Files written after `time_s`: the likely reason for another digest."""
    newer = (path for path in files(source) if path.stat().st_mtime > time_s)
    return [path.relative_to(source).as_posix() for path, _ in zip(newer, range(limit), strict=False)]


def _is_job_file(path: Path) -> bool:
    """Of another job. A configuration that has `name` and `run` too, and keys of its own, is read by the program: it counts."""
    try:
        with path.open("rb") as file:
            head = file.read(MAX_JOB_FILE_BYTES + 1)
        if len(head) > MAX_JOB_FILE_BYTES or not all(pattern.search(head) for pattern in LIKE_A_JOB_FILE):
            return False
        value = trainyard_yaml.load(head.decode("utf-8"))
    except (OSError, ValueError, Unusable, yaml.YAMLError):
        return False
    return isinstance(value, dict) and {"name", "run"} <= value.keys() <= set(Job.__struct_fields__)


def _skipped(folder: Path, name: str) -> bool:
    if name.startswith(".") or name in SKIPPED_FOLDERS or name.endswith(".egg-info"):
        return True
    try:
        return (folder / name / "pyvenv.cfg").exists()
    except OSError:  # not ours to read: nothing of the program is in there
        return True


def _one(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_HASHED_BYTES:
            return f"{size} bytes"
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:  # gone or unreadable in the meantime: that is a state of the file, too
        return type(error).__name__
