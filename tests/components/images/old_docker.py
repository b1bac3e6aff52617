"""The Docker that users of Debian 12 have: dockerd 20.10, whose BuildKit is of 2020."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.components.images import docker_daemon

OldDocker = docker_daemon.Docker
PROGRAM = Path("/usr/bin/docker")
"""Debian's, of the daemon's version: a newer one may come first in PATH and cannot build without its plugin."""
DAEMON = Path("/usr/sbin/dockerd")
VERSION = "20.10"
SETTINGS = {"deprecated-key-path": "@FOLDER@/key.json"}
"""Not in /etc/docker."""


def version() -> str:
    """Of the daemon's program: 20.10.24; empty where there is none."""
    if not DAEMON.exists():
        return ""
    said = subprocess.run([DAEMON, "--version"], capture_output=True, text=True, timeout=30).stdout
    found = re.search(r"version (\d+\.\d+\.\d+)", said)
    return found[1] if found else ""


@contextmanager
def old_docker(mirror: str) -> Iterator[OldDocker]:
    """Ready in about 1 s."""
    with docker_daemon.running("docker", PROGRAM, DAEMON, mirror, SETTINGS) as docker:
        yield docker
