"""Where metrics are read from: a log file, stdin, or a run folder (its steps.jsonl, else the logs of its attempts)."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import trainyard_shell as shell
from run_folder.folder import log_pattern, open_run_folder
from trainyard_files import Unusable, open_regular

if TYPE_CHECKING:
    from run_folder.records import Runner

ATTEMPT_LOG = re.compile(r"attempt-(\d{4,9})\.log")
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class LogSource:
    """One or more files that are read as one log."""

    name: str
    paths: tuple[Path, ...]
    """Empty: stdin."""
    growing: bool
    pattern: str | None = None
    """The job file's, for the log of a run."""

    def open(self) -> BinaryIO:
        if not self.paths:
            return sys.stdin.buffer
        try:
            return Joined(self.paths)  # type: ignore[return-value]  # all that is asked of it is read and close
        except Unusable as error:
            raise shell.SkillError("usage", str(error), hint=f"ls -l {self.name}") from error
        except OSError as error:
            raise shell.SkillError(
                "permission", f"{self.name} cannot be read: {error.strerror}", hint=f"ls -l {self.name}"
            ) from error


class Joined:
    """Several files one behind the other, with a line end between them."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._files = [open_regular(path) for path in paths]

    def read(self, size: int) -> bytes:
        while self._files:
            part: bytes = self._files[0].read1(size)  # type: ignore[attr-defined]  # as open() gives it
            if part:
                return part
            self._files.pop(0).close()
            if self._files:
                return b"\n"
        return b""

    def close(self) -> None:
        for file in self._files:
            file.close()


def find_source(text: str) -> LogSource:
    if text == "-":
        return LogSource("stdin", (), growing=False)
    path = Path(text)
    if path.is_dir():
        return source_in(open_run_folder(text), text)
    if not path.exists():
        raise shell.SkillError("not-found", f"{text} does not exist", hint="give a log file, a run folder, or - for stdin")
    if not path.is_file():
        raise shell.SkillError("usage", f"{text} is not a regular file", hint=f"monitor_training.py metrics - < {text}")
    refuse_compressed(path)
    return LogSource(text, (path,), growing=True)


def source_in(folder: Path, text: str) -> LogSource:
    """Of a run folder that is called `text`. Raises SkillError not-found."""
    steps, logs = folder / "steps.jsonl", job_logs(folder)
    if steps.exists():
        return LogSource(str(steps), (steps,), growing=True)
    if logs:
        name = str(logs[-1]) if len(logs) == 1 else f"{folder / 'logs'} ({len(logs)} attempts)"
        return LogSource(name, tuple(logs), True, log_pattern(folder))
    raise shell.SkillError("not-found", f"{text} has neither steps.jsonl nor a job log in logs/", hint=f"ls {text}")


def job_logs(folder: Path, runner: Runner | None = None) -> list[Path]:
    """The logs of all attempts, oldest first; shared-docs/run-folder.md tells their names."""
    found = [path for path in (folder / "logs").glob("attempt-*.log") if ATTEMPT_LOG.fullmatch(path.name)]
    if not found and runner is not None and runner.log:
        named = Path(os.path.realpath(folder / runner.log.replace("\0", "")))
        # runner.json is a file like any other: it does not get to name a file elsewhere.
        found = [named] if named.is_relative_to(folder.resolve()) and named.is_file() else []
    return sorted(found, key=lambda path: (len(path.name), path.name))


def attempt_of(log: Path) -> int:
    found = ATTEMPT_LOG.fullmatch(log.name)
    return int(found[1]) if found else 0


def refuse_compressed(path: Path) -> None:
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == GZIP
    except OSError as error:
        raise shell.SkillError("permission", f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    if compressed:
        raise shell.SkillError("usage", f"{path} is compressed", hint=f"zcat {path} | monitor_training.py metrics -")
