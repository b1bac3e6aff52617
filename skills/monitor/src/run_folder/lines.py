"""Lines of a .jsonl file: the tail alone, or all of them as a stream; never the whole file in memory.

The run folder's rule: one write a line, so a last line without a newline is still being written and is left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import msgspec
from trainyard_files import Unusable, check_nesting, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MAX_LINE_BYTES = 1 << 20
Record = TypeVar("Record")


@dataclass
class Tally:
    """What reading one file met."""

    name: str
    lines: int = 0
    unreadable: int = 0
    first_unreadable: str | None = None
    complete: bool = True
    """False: only a part of the file was read."""

    def refused(self, error: Exception) -> None:
        """The file could not be read, or not to its end: a pipe, a folder, another user's."""
        self.lines, self.unreadable, self.complete = self.lines + 1, self.unreadable + 1, False
        self.first_unreadable = self.first_unreadable or str(error)

    def note(self) -> str | None:
        if not self.unreadable:
            return None
        return f"{self.unreadable} of {self.lines} lines read in {self.name} are not what this file holds"


def tail_lines(path: Path, budget_bytes: int, tally: Tally) -> list[bytes]:
    """The whole lines in the last `budget_bytes` of the file; [] when it is not there, or cannot be read: the tally says so."""
    try:
        with open_regular(path) as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - budget_bytes)
            file.seek(start)
            lines = file.read(budget_bytes).split(b"\n")
    except FileNotFoundError:
        return []
    except (OSError, Unusable) as error:
        tally.refused(error)
        return []
    lines.pop()  # what follows the last newline: nothing, or a line in the making
    if start:
        tally.complete = False
        lines = lines[1:]  # its beginning was cut off
    return lines


def head_lines(path: Path, budget_bytes: int) -> list[bytes]:
    """The whole lines in the first `budget_bytes` of the file; [] when it is not there, or cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(budget_bytes).split(b"\n")[:-1]
    except (OSError, Unusable):
        return []


def all_lines(path: Path, tally: Tally) -> Iterator[bytes]:
    """Every whole line, one at a time; nothing when the file is not there, or cannot be read: the tally says so."""
    try:
        with open_regular(path) as file:
            while line := file.readline(MAX_LINE_BYTES):
                # A piece of an overlong line has no newline either, but more follows: let the decoder refuse it.
                if line.endswith(b"\n") or len(line) == MAX_LINE_BYTES:
                    yield line
    except FileNotFoundError:
        return
    except (OSError, Unusable) as error:
        tally.refused(error)


def decoded(lines: Iterable[bytes], decoder: msgspec.json.Decoder[Record], tally: Tally) -> Iterator[Record]:
    """The records among the lines; a line that is none is counted in `tally` and left out."""
    decode = decoder.decode
    for line in lines:
        if not line.strip():
            continue
        tally.lines += 1
        try:
            check_nesting(line)
            yield decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, Unusable) as error:
            tally.unreadable += 1
            if tally.first_unreadable is None:
                tally.first_unreadable = f"{error}: {line[:80].decode('utf-8', 'replace')}"
