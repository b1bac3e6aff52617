"""What runs of a cluster, by the processes it recorded."""

from __future__ import annotations

from pathlib import Path

from tests.components.cluster.place import Place


def start_time(pid: int) -> str | None:
    """In clock ticks since boot: tells a process from another that got the number later."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def recorded(place: Place) -> dict[str, bool]:
    """Name -> does it live."""
    found = {}
    for file in sorted((place.state / "pid").glob("*")):
        pid, _, began = file.read_text().strip().partition(" ")
        found[file.name] = bool(began) and start_time(int(pid)) == began
    return found
