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

from trainyard_files import Unusable, open_regular, parse, read_object, replace_file

ENDED = ("finished", "failed", "stopped")


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
        return sorted(int(name) for name in names if name.isdecimal() and len(name) < 10)


RUNNER_KINDS = {
    **dict.fromkeys(["run_id", "name", "state", "reason", "last_failure", "log", "stop_requested"], "text"),
    **dict.fromkeys(["attempt", "restarts", "max_restarts", "exit_code"], "a whole number"),
    **dict.fromkeys(["started", "ended", "begun", "earlier_s"], "a number"),
    **dict.fromkeys(["supervisor", "launcher"], "an object"),
}
SPEC_KINDS = {
    **dict.fromkeys(["run_id", "name", "workdir", "python", "checkpoints", "folder", "hang"], "text"),
    **dict.fromkeys(["procs", "max_restarts"], "a whole number"),
    **dict.fromkeys(["stop_grace_s", "backoff_s", "hang_after_s", "max_hours"], "a number"),
    "command": "a list of texts",
    "env": "an object of texts",
}


def read_runner(folder: RunFolder) -> dict[str, Any] | None:
    """runner.json, None when there is none. Raises Unusable or OSError."""
    return read_object(folder.runner, RUNNER_KINDS)


def read_spec(folder: RunFolder) -> dict[str, Any] | None:
    """runner-spec.json, None when there is none. Raises Unusable or OSError."""
    return read_object(folder.spec, SPEC_KINDS)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Replace `path`: a reader sees the old document or the new one, also after a power cut."""
    replace_file(path, (json.dumps(document, indent=1) + "\n").encode())


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


MAX_LINE_BYTES = 1 << 20
MAX_LOOK_BYTES = 64 << 20
"""What one look reads at most; the rest waits for the next one."""


@dataclass
class EventReader:
    """Reads the complete lines that were added to events.jsonl since the last look; what is not an event is skipped."""

    path: Path
    offset: int = 0

    def skip(self) -> None:
        with contextlib.suppress(OSError):
            self.offset = self.path.stat().st_size

    def new(self) -> Iterator[dict[str, Any]]:
        with contextlib.suppress(OSError, Unusable), open_regular(self.path) as file:
            size = os.fstat(file.fileno()).st_size
            self.offset = min(self.offset, size)  # somebody may have emptied it
            end = self.offset + MAX_LOOK_BYTES
            file.seek(self.offset)
            while self.offset < end and (line := file.readline(MAX_LINE_BYTES)):
                if not line.endswith(b"\n") and len(line) < MAX_LINE_BYTES:
                    return  # still being written
                self.offset += len(line)
                if event := _event(line):
                    yield event


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = parse(line)
    except Unusable:
        return None
    return event if isinstance(event, dict) else None


def try_lock(folder: RunFolder) -> int | None:
    """An open file descriptor that holds runner.lock, or None when somebody else does.

    The lock belongs to the open file: `submit` hands it to the supervisor without a moment in which it is free.
    """
    handle = os.open(folder.lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), folder.lock.stat()):
            return handle
    except (BlockingIOError, FileNotFoundError):  # not found: a submit that failed took it away with all it had made
        pass
    os.close(handle)
    return None
