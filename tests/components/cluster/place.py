"""Where one cluster lives: a numbered place has its own folder, network namespace, addresses and cgroup, so several can run at once."""

from __future__ import annotations

import fcntl
import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import IO

FOR_PEOPLE = 0
"""`python -m tests.components.cluster` uses this place; a test session takes the first free one of the others."""
FOR_TESTS = range(1, 9)


def cache() -> Path:
    """What is built lies here, shared by all clusters and kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trainyard"


@dataclass(frozen=True)
class Place:
    number: int

    @property
    def name(self) -> str:
        """Of the network namespace, the CNI network and the cgroup."""
        return f"trainyard-{self.number}"

    @property
    def state(self) -> Path:
        """Everything of a running cluster; a short path, for it holds a unix socket."""
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return home / "trainyard" / f"cluster-{self.number}"

    @property
    def address(self) -> str:
        """Of the API server, as seen from this machine and from inside."""
        return f"10.123.{self.number}.2"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    def environment(self) -> dict[str, str]:
        """What the scripts are told (env.sh)."""
        uv = Path(sysconfig.get_path("scripts")) / "uv"
        own = {
            "CACHE": str(cache()),
            "STATE": str(self.state),
            "NAME": self.name,
            "IP": self.address,
            "HOST_IP": f"10.123.{self.number}.1",
            "PY": sys.executable,
            "UV": str(uv) if uv.exists() else "uv",
        }
        return {**os.environ, **own}


def lock(place: Place) -> IO[str] | None:
    """Hold the place until the file is closed or this process ends; None where another process holds it."""
    folder = cache() / "places"
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / str(place.number)).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
