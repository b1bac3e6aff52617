"""What there is of a cluster on this machine, found without its own records: the proof that `down` leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path

from tests.components.cluster.place import Place


def content(path: Path) -> bytes:
    """Empty where the process has ended meanwhile, or is one that even root may not read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def marked(place: Place) -> list[int]:
    """Processes of the cluster, by the mark in their environment."""
    mark = f"TRAINYARD_CLUSTER={place.state}".encode()
    folders = Path("/proc").glob("[0-9]*")
    return [int(folder.name) for folder in folders if mark in content(folder / "environ").split(b"\0")]


def processes(place: Place) -> list[str]:
    """Of the cluster, and of its pods (by their cgroup)."""
    group, folders = f"/{place.name}/".encode(), Path("/proc").glob("[0-9]*")
    pids = {*marked(place), *(int(folder.name) for folder in folders if group in content(folder / "cgroup"))}
    return [f"{pid} {content(Path(f'/proc/{pid}/comm')).decode().strip()}" for pid in sorted(pids)]


def mounts(place: Place) -> list[str]:
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{place.state}/")]


def files(place: Place) -> list[str]:
    """The state folder, network namespace and device, cgroups, and what the CNI plugins and the kubelet wrote elsewhere."""
    fixed = [place.state, Path("/run/netns") / place.name, Path("/sys/class/net") / f"{place.name}-h"]
    groups = [Path("/sys/fs/cgroup") / place.name, *Path("/sys/fs/cgroup").glob(f"*/{place.name}")]
    addresses = Path("/var/lib/cni/results").glob(f"{place.name}-*")
    logs = [link for link in Path("/var/log/containers").glob("*.log") if str(place.state) in os.readlink(link)]
    return [str(path) for path in [*fixed, *groups, *addresses, *logs] if os.path.lexists(path)]


def leftovers(place: Place) -> dict[str, list[str]]:
    """Kind -> what is there; empty where nothing is."""
    found = {"processes": processes(place), "mounts": mounts(place), "files": files(place)}
    return {kind: items for kind, items in found.items() if items}
