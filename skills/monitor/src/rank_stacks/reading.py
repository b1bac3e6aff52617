"""Stacks as Python's faulthandler or py-spy print them, as frames. What is printed comes from the job: it is data."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from trainyard_shell import clean

MAX_THREADS, MAX_FRAMES = 100, 100
THREAD = re.compile(
    r"(?:Current thread|Thread) 0x[0-9a-f]+(?: \[[^\]]{0,80}\])?(?: \([^)]{0,80}\))?(?: \(most recent call first\))?:?"
)
FRAME = re.compile(r'  File "(.{0,500}?)", line (\d{1,8}|\?\?\?) in (.{0,200})')


@dataclass(frozen=True)
class Frame:
    file: str
    line: int | None
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line if self.line is not None else '?'} in {self.function}"

    @property
    def is_the_scripts(self) -> bool:
        return not re.search(r"/(site-packages|dist-packages|lib/python3\.\d+|trainyard)/|^<", self.file)


Stack = tuple[Frame, ...]
"""The innermost frame first."""


def from_faulthandler(text: str) -> list[Stack]:
    """Threads of the last dump in `text`; the main thread is the last one, for the newest is printed first."""
    threads: list[list[Frame]] = []
    for line in text.splitlines():
        if THREAD.match(line):
            threads.append([])
        elif threads and (frame := FRAME.match(line)) and len(threads[-1]) < MAX_FRAMES:
            number = int(frame[2]) if frame[2].isdecimal() else None
            threads[-1].append(Frame(clean(frame[1], 300), number, clean(frame[3], 120)))
    return [tuple(thread) for thread in threads[-MAX_THREADS:] if thread]


def from_spy(text: str) -> list[Stack]:
    """Threads, the main one last. Raises ValueError where that is not py-spy's JSON."""
    try:
        threads = json.loads(text)
        found = [(thread.get("thread_name") == "MainThread", _frames(thread["frames"])) for thread in threads[:MAX_THREADS]]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"py-spy answers in another form: {error}") from None
    return [stack for _, stack in sorted(found, key=lambda each: each[0]) if stack]


def _frames(rows: list[dict[str, Any]]) -> Stack:
    return tuple(
        Frame(clean(str(row["filename"]), 300), int(row["line"]) or None, clean(str(row["name"]), 120))
        for row in rows[:MAX_FRAMES]
    )
