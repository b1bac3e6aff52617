"""The Docker that users of Debian 12 have: dockerd 20.10, whose BuildKit is of 2020, on a socket of its own.

It makes no bridge and no firewall rule and leaves IP forwarding alone, so a container has the network `none` or `host`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.components.images.keeping import keep

PROGRAM = Path("/usr/bin/docker")
"""Debian's, of the daemon's version: a newer one may come first in PATH and cannot build without its plugin."""
DAEMON = Path("/usr/sbin/dockerd")
VERSION = "20.10"
NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
CALL_LIMIT_S = 120.0


def version() -> str:
    """Of the daemon's program: 20.10.24; empty where there is none."""
    if not DAEMON.exists():
        return ""
    said = subprocess.run([DAEMON, "--version"], capture_output=True, text=True, timeout=30).stdout
    found = re.search(r"version (\d+\.\d+\.\d+)", said)
    return found[1] if found else ""


@dataclass(frozen=True)
class OldDocker:
    folder: Path
    log: Path
    """The daemon's."""

    @property
    def host(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    @property
    def program(self) -> str:
        return str(PROGRAM)

    def environment(self) -> dict[str, str]:
        """What a program that calls docker must find: this daemon, no login of the user's, this docker first in PATH."""
        return {
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self.folder / "client"),
            "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}",
        }

    def run(
        self, *words: object, input: str = "", env: Mapping[str, str] | None = None, limit_s: float = CALL_LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """docker with these words, whatever its exit code."""
        own = {**os.environ, **self.environment(), **(env or {})}
        command = [self.program, *map(str, words)]
        return subprocess.run(command, env=own, input=input, capture_output=True, text=True, timeout=limit_s)

    def build(self, context: Path, *words: object, tag: str, limit_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """With its own BuildKit and this machine's network; stderr holds --progress=plain."""
        command = ["build", "--progress=plain", "--network=host", f"--tag={tag}", *words, context]
        return self.run(*command, env={"DOCKER_BUILDKIT": "1"}, limit_s=limit_s)


@contextmanager
def old_docker(mirror: str) -> Iterator[OldDocker]:
    """A daemon whose docker.io is the registry at `mirror` (127.0.0.1:PORT). Ready in about 1 s."""

    def command(folder: Path) -> list[object]:
        (folder / "client").mkdir()
        settings = {
            "registry-mirrors": [f"http://{mirror}"],
            "shutdown-timeout": 3,
            "deprecated-key-path": str(folder / "key.json"),  # not in /etc/docker
        }
        (folder / "daemon.json").write_text(json.dumps(settings))
        places = [f"--host=unix://{folder}/docker.sock", f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
        return [DAEMON, *places, f"--pidfile={folder}/pid", f"--config-file={folder}/daemon.json", *NO_NETWORK]

    with keep("docker", command) as process:
        running = OldDocker(process.folder, process.log)
        process.wait_until(lambda: running.run("version").returncode == 0)
        yield running
