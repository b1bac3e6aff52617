"""The run folder as this skill sees it: its files, how they are replaced, and the lock. Standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ENDED = ("finished", "failed", "stopped")


class DamagedFile(Exception):
    """A file that is replaced atomically, and yet is no JSON object: somebody else wrote it, or the disk is bad."""


@dataclass(frozen=True)
class RunFolder:
    """Paths inside one run folder; the schemas are in shared-docs/run-folder.md."""

    path: Path

    @property
    def spec(self) -> Path:
        return self.path / "runner-spec.json"

    @property
    def runner(self) -> Path:
        return self.path / "runner.json"

    @property
    def lock(self) -> Path:
        return self.path / "runner.lock"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "supervisor.log"

    def log(self, attempt: int) -> Path:
        return self.path / "logs" / f"attempt-{attempt:04d}.log"

    def attempts(self) -> list[int]:
        """Attempts that have a log, in order."""
        names = (path.stem.removeprefix("attempt-") for path in (self.path / "logs").glob("attempt-*.log"))
        return sorted(int(name) for name in names if name.isdigit())


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in `path`, None when there is no such file. Raises DamagedFile."""
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise DamagedFile(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DamagedFile(f"{path} holds no JSON object")
    return document


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace `path`: a reader sees the old document or the new one, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def append_event(path: Path, type: str, **fields: Any) -> None:
    """One line, one write. A line that a killed writer left torn is closed first, so that it cannot swallow ours."""
    line = json.dumps({"time": time.time(), "type": type, "source": "runner", **fields}) + "\n"
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        os.write(handle, (("\n" if torn else "") + line).encode())
    finally:
        os.close(handle)


@dataclass
class EventReader:
    """Reads the complete lines that were added to events.jsonl since the last look."""

    path: Path
    offset: int = 0

    def skip(self) -> None:
        self.offset = self.path.stat().st_size if self.path.exists() else 0

    def new(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if isinstance(event, dict):
                        yield event


def try_lock(folder: RunFolder) -> int | None:
    """An open file descriptor that holds runner.lock, or None when somebody else does.

    The lock belongs to the open file: `submit` hands it to the supervisor without a moment in which it is free.
    """
    handle = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
