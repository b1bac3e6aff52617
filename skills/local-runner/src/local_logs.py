"""The job's output: its last lines, or everything as it comes, over all attempts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import trainyard_shell as shell
from trainyard_files import Unusable, open_regular

from local_folder import ENDED, RunFolder
from local_rotation import NOTICE
from local_status import view

TAIL_BYTES = 1024 * 1024
CHUNK_BYTES = 256 * 1024
LINE_BYTES = 8 * 1024
"""A progress bar may never end its line; it is cut here."""
ANCHOR_BYTES = 256
POLL_S = 0.2
STATE_EVERY_S = 1.0
"""The state needs a look at all processes, so it is read less often than the file."""


def last_lines(path: Path, count: int) -> tuple[list[str], bool]:
    """(the last `count` lines as data, whether there are more). Reads at most TAIL_BYTES."""
    file = _opened(path)
    if file is None:
        return [], False
    with file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - TAIL_BYTES))
        raw = file.read(TAIL_BYTES)
    lines = raw.splitlines()
    if size > TAIL_BYTES:
        lines = lines[1:]  # the first is a part of a line
    return [_text(line) for line in lines[-count:]], size > TAIL_BYTES or len(lines) > count


def _opened(path: Path) -> BinaryIO | None:
    """The log, None while there is none. Raises SkillError for what is no log, or not ours to read."""
    try:
        return open_regular(path)
    except FileNotFoundError:
        return None
    except (OSError, Unusable) as error:
        raise shell.SkillError("permission", f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error


def _text(line: bytes) -> str:
    return shell.clean(line.decode(errors="replace"))


@dataclass
class LineReader:
    """Complete lines of a file that grows."""

    path: Path
    offset: int = 0
    partial: bytes = b""
    seen: bytes = b""
    """The last bytes that were read: where they stand in a log that was made shorter, reading goes on."""

    def start_at(self, lines: int) -> None:
        """So that the next `new` begins with the last `lines` lines of what is there."""
        file = _opened(self.path)
        if file is None:
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - TAIL_BYTES))
            raw = file.read(size - file.tell())
        wanted = sum(len(line) for line in raw.splitlines(keepends=True)[-lines:])
        self.offset, self.seen = size - wanted, raw[: len(raw) - wanted][-ANCHOR_BYTES:]

    def new(self, *, to_the_end: bool) -> Iterator[str]:
        """Lines since the last call; `to_the_end`: the file grows no more, so what has no newline is a line too."""
        file = _opened(self.path)
        if file is None:
            return
        with file:
            if os.fstat(file.fileno()).st_size < self.offset:
                self._after_cut(file)
            file.seek(self.offset)
            while chunk := file.read(CHUNK_BYTES):
                self.offset += len(chunk)
                self.seen = (self.seen + chunk)[-ANCHOR_BYTES:]
                *lines, self.partial = (self.partial + chunk).split(b"\n")
                yield from (_text(line) for line in lines)
                if len(self.partial) > LINE_BYTES:
                    yield _text(self.partial)
                    self.partial = b""
        if to_the_end and self.partial:
            yield _text(self.partial)
            self.partial = b""

    def _after_cut(self, file: BinaryIO) -> None:
        """The log was made shorter meanwhile (local_rotation): go on behind what was read last, else at the cut."""
        size = os.fstat(file.fileno()).st_size
        begin = max(0, size - TAIL_BYTES)
        file.seek(begin)
        raw = file.read(size - begin)
        found = raw.rfind(self.seen) if self.seen else -1
        if found >= 0:
            self.offset = begin + found + len(self.seen)
            return
        notice = raw.rfind(NOTICE)  # the line that says how much is missing
        start = notice if notice >= 0 else raw.find(b"\n") + 1
        self.partial, self.seen, self.offset = b"", b"", begin + start


def follow(folder: RunFolder, *, attempt: int | None, lines: int, timeout_s: float) -> int:
    """Emit the lines from the last `lines` on until the run ends; returns how many. Raises SkillError `timeout`."""
    deadline, count, state_at, ended = time.monotonic() + timeout_s, 0, 0.0, False
    current = attempt if attempt is not None else (folder.attempts() or [0])[-1]
    reader = LineReader(folder.log(current))
    reader.start_at(lines)
    shell.emit("attempt", attempt=current, log=str(reader.path))
    while True:
        if time.monotonic() - state_at >= STATE_EVERY_S:
            ended, state_at = view(folder)["state"] in (*ENDED, "lost"), time.monotonic()
        newer = [number for number in folder.attempts() if number > current]
        complete = ended or bool(newer)  # both were looked at before the file is read, so nothing is missed
        for line in reader.new(to_the_end=complete):
            shell.emit("line", attempt=current, line=line)
            count += 1
        if complete and (attempt is not None or not newer):
            return count
        if newer:
            current, reader = newer[0], LineReader(folder.log(newer[0]))
            shell.emit("attempt", attempt=current, log=str(reader.path))
        elif time.monotonic() > deadline:
            hint = "the same call, or --timeout"
            raise shell.SkillError("timeout", f"the run goes on after {timeout_s:g} s", hint=hint, retryable=True)
        else:
            time.sleep(POLL_S)
