"""Logs stay bounded while the job writes them: the first part and the last one are kept, a line between them says what was cut.

The job writes straight into the file, without a process between that could die and take the job with it. The file is opened for appending,
so each write lands at what is its end then, also after it was made shorter. Standard library only.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from local_folder import RunFolder

LIMIT_VARIABLE = "TRAINYARD_LOG_LIMIT_MB"
LIMIT_BYTES = 256 << 20
LEAST_BYTES = 1 << 20
OLD_LOG_BYTES = 2 << 20
"""An earlier attempt's log, once there are many: how it began and how it ended."""
WHOLE_LOGS = 10
SUPERVISOR_LOG_BYTES = 4 << 20
NO_DISK_BYTES = 64 << 20
CHUNK_BYTES = 1 << 20
NOTICE = b"[trainyard] cut: "
LINE_SEARCH_BYTES = 64 << 10


def limit_bytes(environ: dict[str, str]) -> int:
    """What TRAINYARD_LOG_LIMIT_MB says, else 256 MiB."""
    text = environ.get(LIMIT_VARIABLE, "")
    return max(LEAST_BYTES, int(text) << 20) if text.isdecimal() and len(text) < 9 else LIMIT_BYTES


def cut(path: Path, limit: int, before: int = 0) -> int:
    """Make a log longer than `limit` bytes half as long; returns the bytes cut out (0: it was short enough).

    `before`: bytes that earlier cuts took. What a job writes between the last read and the truncation, microseconds later, is lost.
    Raises OSError.
    """
    with path.open("r+b", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size <= limit:
            return 0
        head = _line_end(file.fileno(), limit // 4)
        source = _line_end(file.fileno(), size - limit // 4)
        removed = source - head
        place = head + os.pwrite(file.fileno(), _notice(before + removed, limit), head)
        most = place + limit // 2  # a job that writes faster than this reads must not keep it here
        while place < most and (chunk := os.pread(file.fileno(), CHUNK_BYTES, source)):
            place += os.pwrite(file.fileno(), chunk, place)
            source += len(chunk)
        os.ftruncate(file.fileno(), place)
        return removed


def _notice(removed: int, limit: int) -> bytes:
    words = f"{removed} bytes are missing here; a log is at most {limit >> 20} MiB ({LIMIT_VARIABLE})\n"
    return NOTICE + words.encode()


def _line_end(handle: int, offset: int) -> int:
    """Behind the first line end at or after `offset`; `offset` itself where the line is too long to look for its end."""
    at = os.pread(handle, LINE_SEARCH_BYTES, offset).find(b"\n")
    return offset + at + 1 if at >= 0 else offset


@dataclass
class LogKeeper:
    """Looks at the logs of one run at each tick of its supervisor."""

    folder: RunFolder
    limit: int
    removed: dict[Path, int] = field(default_factory=dict)
    """Bytes cut out of each log so far."""
    disk_is_full: bool = False

    def look(self, attempt: int) -> bool:
        """Keep the current log and the supervisor's own within bounds. True: the disk has become full since the last look.

        A log that cannot be cut stays as it is: nothing here ends the supervision.
        """
        full = is_full(self.folder.path)
        self._cut(self.folder.log(attempt), min(self.limit, 32 << 20) if full else self.limit)
        self._cut(self.folder.supervisor_log, SUPERVISOR_LOG_BYTES)
        if full and not self.disk_is_full:
            self.shorten(keep=1)
        news = full and not self.disk_is_full
        self.disk_is_full = full
        return news

    def shorten(self, keep: int = WHOLE_LOGS) -> None:
        """Of the attempts before the newest `keep` only the beginning and the end stays; no log is deleted, for they count attempts."""
        for attempt in self.folder.attempts()[:-keep]:
            self._cut(self.folder.log(attempt), OLD_LOG_BYTES)

    def _cut(self, path: Path, limit: int) -> None:
        try:
            if removed := cut(path, limit, self.removed.get(path, 0)):
                self.removed[path] = self.removed.get(path, 0) + removed
        except OSError:
            return


def is_full(path: Path) -> bool:
    """Whether a line printed now may find no room; a small disk is full later than a large one."""
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return False
    return usage.free < min(NO_DISK_BYTES, usage.total // 20)
