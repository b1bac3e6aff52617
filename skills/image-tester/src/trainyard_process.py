"""Which process is which, and for which run folder it was started. Linux, standard library only.

A pid alone proves nothing, because the kernel hands it out again: an Identity adds the boot and the start time.
`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROC = Path("/proc")
DEAD_STATES = "ZXx"  # a zombie has ended; only its exit code is left


@dataclass(frozen=True)
class Identity:
    """One process, never to be mistaken for a later one with the same pid."""

    boot_id: str
    pid: int
    start_time: int
    """Clock ticks since boot: field 22 of /proc/<pid>/stat."""

    @classmethod
    def from_document(cls, document: Any) -> Identity | None:
        try:
            return cls(str(document["boot_id"]), int(document["pid"]), int(document["start_time"]))
        except (KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True)
class Stat:
    parent_pid: int
    state: str
    start_time: int


def boot_id() -> str:
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def stat(pid: int) -> Stat | None:
    """What /proc says about `pid`; None when it is gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return Stat(int(fields[1]), fields[0], int(fields[19]))


def identify(pid: int) -> Identity | None:
    """The identity of a living process; None when it is gone or a zombie."""
    found = stat(pid)
    return Identity(boot_id(), pid, found.start_time) if found and found.state not in DEAD_STATES else None


def is_alive(process: Identity | None) -> bool:
    return process is not None and identify(process.pid) == process


def environment(pid: int) -> dict[str, str]:
    """The environment `pid` was started with; {} when it is gone or not ours to read."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.partition("=") for item in raw.decode(errors="replace").split("\0"))
    return {name: value for name, equals, value in pairs if equals}


def ancestors(pid: int) -> set[int]:
    """`pid` and its parents."""
    line: set[int] = set()
    while pid > 0 and pid not in line and (found := stat(pid)):
        line.add(pid)
        pid = found.parent_pid
    return line


def serves(variables: Mapping[str, str], run_dir: Path) -> bool:
    """Whether a process with this environment works for the run in `run_dir`, and not for the run that this is a copy of.

    A folder that is gone was moved here, or nobody else's any more.
    """
    told = variables.get("TRAINYARD_RUN_DIR")
    return told is None or same_place(told, run_dir) is not False


def same_place(one: str, other: Path) -> bool | None:
    """Whether two paths lead to one folder; None where one of them leads nowhere, or not for us."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return None
