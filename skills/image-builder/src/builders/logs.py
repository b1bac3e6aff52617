"""The log of a build: the whole of it in a file, within a bound, and the same lines on stderr while it runs."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections import deque
from pathlib import Path
from typing import BinaryIO

import trainyard_shell as shell
from trainyard_hiding import hidden

MAX_LOG_BYTES = 64 << 20
KEPT_LINES = 40_000
"""For the diagnosis, the last ones; the head of a build is its plan."""
KEPT_LOGS = 20


def folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "trainyard" / "builds"


class BuildLog:
    """Takes lines; closes itself as a context."""

    def __init__(self, name: str, *, prefix: str = "", quiet: bool = False) -> None:
        """`name` is the image's; `prefix` stands before each line on stderr. Raises SkillError where the file cannot be written."""
        safe = name.replace("/", "_")
        self.path = folder() / f"{safe}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}.log"
        self.prefix, self.quiet = prefix, quiet
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._written = 0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file: BinaryIO = self.path.open("xb", buffering=0)
            self.path.chmod(0o600)
        except OSError as error:
            raise shell.cannot_write(self.path, error, "free some space, or set XDG_STATE_HOME to another folder") from error
        _remove_old(safe)

    def __enter__(self) -> BuildLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def take(self, line: str) -> None:
        """One line of the builder's. A disk that is full ends the file, not the build."""
        line = hidden(shell.visible(line.replace("\r", "\n").rstrip("\n").rpartition("\n")[2]))
        self.lines.append(line)
        if not self.quiet:
            shell.progress(self.prefix + line)
        data = line.encode("utf-8", "replace") + b"\n"
        if self._written < MAX_LOG_BYTES:
            end = (
                b"... the rest is not kept: the log has reached its bound\n"
                if self._written + len(data) >= MAX_LOG_BYTES
                else b""
            )
            with contextlib.suppress(OSError):
                self._file.write(data + end)
            self._written += len(data)


def _remove_old(name: str) -> None:
    """The newest of each image are kept."""
    with contextlib.suppress(OSError):
        found = sorted(folder().glob(f"{name}-[0-9]*.log"), key=lambda path: path.name)
        for path in found[:-KEPT_LOGS]:
            path.unlink()
