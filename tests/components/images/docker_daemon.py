"""A Docker daemon on a socket of its own, and its command line as tests call it.

It makes no bridge and no firewall rule and leaves IP forwarding alone, so a container has the network `none` or `host`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.components.images.keeping import keep

NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false")
CALL_LIMIT_S = 120.0


@dataclass(frozen=True)
class Docker:
    folder: Path
    program: str
    """Path of the command line."""
    log: Path
    """The daemon's."""

    @property
    def host(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def environment(self) -> dict[str, str]:
        """What a program that calls docker must find: this daemon, no login of the user's, this docker first in PATH."""
        return {
            "DOCKER_HOST": self.host,
            "DOCKER_CONFIG": str(self.folder / "client"),
            "PATH": f"{Path(self.program).parent}:{os.environ['PATH']}",
        }

    def run(
        self, *words: object, input: str = "", env: Mapping[str, str] | None = None, limit_s: float = CALL_LIMIT_S
    ) -> subprocess.CompletedProcess[str]:
        """docker with these words, whatever its exit code."""
        own = {**os.environ, **self.environment(), **(env or {})}
        command = [self.program, *map(str, words)]
        return subprocess.run(command, env=own, input=input, capture_output=True, text=True, timeout=limit_s)

    def build(self, context: Path, *words: object, tag: str, limit_s: float = 300.0) -> subprocess.CompletedProcess[str]:
        """With BuildKit and this machine's network; stderr holds --progress=plain."""
        command = ["build", "--progress=plain", "--network=host", f"--tag={tag}", *words, context]
        return self.run(*command, env={"DOCKER_BUILDKIT": "1"}, limit_s=limit_s)


@contextmanager
def running(
    name: str, program: Path, daemon: Path, mirror: str, settings: Mapping[str, Any], plugins: Path | None = None
) -> Iterator[Docker]:
    """A daemon whose docker.io is the registry at `mirror` (127.0.0.1:PORT). `settings` go into its configuration, with @FOLDER@
    for the daemon's own folder; `plugins` are the command line's.
    """

    def command(folder: Path) -> list[object]:
        (folder / "client").mkdir()
        if plugins:
            (folder / "client" / "cli-plugins").symlink_to(plugins)
        said = {"registry-mirrors": [f"http://{mirror}"], "shutdown-timeout": 3, **settings}
        (folder / "daemon.json").write_text(json.dumps(said).replace("@FOLDER@", str(folder)))
        places = [f"--host=unix://{folder}/docker.sock", f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
        return [daemon, *places, f"--pidfile={folder}/pid", f"--config-file={folder}/daemon.json", *NO_NETWORK]

    # containerd and runc that lie beside the daemon come first.
    with keep(name, command, {"PATH": f"{daemon.parent}:{os.environ['PATH']}"}) as process:
        docker = Docker(process.folder, str(program), process.log)
        process.wait_until(lambda: docker.run("version").returncode == 0)
        yield docker
