"""Every loss of a job log, for the one question whether all are finite: only lines that hold `nan` or `inf` are read as figures."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from log_reading.job_log import HEAD_BYTES
from log_reading.lines import MAX_LINE_BYTES
from log_reading.reader import read_log
from run_folder.folder import log_pattern
from trainyard_files import Unusable, open_regular

if TYPE_CHECKING:
    from log_reading.job_log import JobLog
    from run_view.observe import Observation

NOT_FINITE = re.compile(rb"nan|inf(?!o)", re.IGNORECASE)
CHUNK_BYTES = 1 << 20
IN_BLOCKS = ("composer", "trainer-state")
"""Formats whose figures stand in other lines than their step."""


@dataclass(frozen=True)
class BadLosses:
    count: int
    first_step: int | None
    """None: the log names no steps."""
    last_step: int | None


def bad_losses(view: Observation) -> BadLosses | None:
    """Those of the whole log; None where there is no log of another trainer, or it cannot be read."""
    log = view.log
    if log is None or log.format is None:
        return None
    try:
        with open_regular(log.file) as file:
            return _read(file, log, log_pattern(view.path))
    except (OSError, Unusable):
        return None


def _read(file: BinaryIO, log: JobLog, pattern: str | None) -> BadLosses:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    lines: BinaryIO = file if log.format in IN_BLOCKS else Suspicious(file)  # type: ignore[assignment]  # all that is asked is read
    name = "auto" if pattern is not None else str(log.format)
    table = read_log(lines, format=name, pattern=pattern, growing=True, head=head).table
    rows = [row for row, value in table.values("loss") if not math.isfinite(value)]
    steps = [table.step[row] for row in rows] if log.step_source == "log" else []
    return BadLosses(len(rows), steps[0] if steps else None, steps[-1] if steps else None)


class Suspicious:
    """The file without the lines that can hold no loss that is not finite."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._rest, self._ended = file, b"", False

    def read(self, size: int = -1) -> bytes:
        """Some lines; b"" at the end only."""
        while not self._ended:
            chunk = self._file.read(CHUNK_BYTES)
            self._ended = not chunk
            whole, _, rest = (self._rest + chunk.replace(b"\r", b"\n")).rpartition(b"\n")
            self._rest = rest if len(rest) <= MAX_LINE_BYTES else b""
            if NOT_FINITE.search(whole):
                return b"".join(line + b"\n" for line in whole.split(b"\n") if NOT_FINITE.search(line))
        return b""
