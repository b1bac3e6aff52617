"""Who may be writing into a checkpoint folder right now: lock.json, and the supervisor of the run it lies in."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from checkpoint_format import LOCK, read_json

SMALL_BYTES = 1 << 20


@dataclass(frozen=True)
class Holder:
    """The state of the lock. Two equal values mean that nobody has taken the folder in between."""

    state: str
    """none (no lock.json) | closed | gone | alive | elsewhere (another host: not known here) | unreadable"""
    run_id: str | None = None
    incarnation: int | None = None
    host: str | None = None
    pid: int | None = None


def read_holder(root: Path) -> Holder:
    """The holder of this folder's lock, judged on this host."""
    try:
        lock = read_json(root / LOCK, SMALL_BYTES)
    except FileNotFoundError:
        return _supervised(root, Holder("none"))
    except (OSError, ValueError):
        return Holder("unreadable")
    if not isinstance(lock, dict) or lock.get("format") != 1 or not isinstance(lock.get("run_id"), str):
        return Holder("unreadable")
    who, incarnation = lock.get("holder"), lock.get("incarnation")
    if type(incarnation) is not int or not (who is None or _is_identity(who)):
        return Holder("unreadable")
    if who is None:
        return _supervised(root, Holder("closed", lock["run_id"], incarnation))
    if who.get("host") != socket.gethostname():
        return Holder("elsewhere", lock["run_id"], incarnation, str(who.get("host")), who["pid"])
    state = "alive" if _lives(who) else "gone"
    return _supervised(root, Holder(state, lock["run_id"], incarnation, who["host"], who["pid"]))


def _supervised(root: Path, holder: Holder) -> Holder:
    """Between two starts of a run nobody holds the lock, yet its supervisor lives and will start the job again."""
    try:
        runner = read_json(root.resolve().parent / "runner.json", SMALL_BYTES)
    except (OSError, ValueError):
        return holder
    who = runner.get("supervisor") if isinstance(runner, dict) else None
    if holder.state == "alive" or not _is_identity(who) or not _lives(who):
        return holder
    return Holder("alive", holder.run_id or str(runner.get("run_id")), holder.incarnation, socket.gethostname(), who["pid"])


def _is_identity(who: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(who, dict) and type(who.get("pid")) is int and who["pid"] > 0


def _lives(who: dict[str, Any]) -> bool:
    """A reused pid has another start time, a rebooted host another boot id."""
    return bool(who.get("boot_id") == boot_id() and start_time(who["pid"]) == who.get("start_time") is not None)


def boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_time(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat, in clock ticks since boot; None when no such process lives (a zombie does not)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
