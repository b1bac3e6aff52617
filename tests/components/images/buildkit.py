"""A real BuildKit: its daemon in a folder of its own, and its client as tests call it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.components.images import parts
from tests.components.images.keeping import keep

BUILD_LIMIT_S = 300.0
CONFIGURATION = """
root = "{folder}/root"
[grpc]
address = ["unix://{folder}/buildkitd.sock"]
[worker.oci]
enabled = true
binary = "{runc}"
networkMode = "host"
gc = true
maxUsedSpace = "15GB"
[worker.containerd]
enabled = false
[registry."docker.io"]
mirrors = ["{mirror}"]
[registry."{mirror}"]
http = true
"""
"""networkMode host: a RUN reaches what this machine reaches, and no bridge or firewall rule is made."""


@dataclass(frozen=True)
class Built:
    """A build that has ended."""

    code: int
    log: str
    """--progress=plain."""
    metadata: dict[str, Any]
    """The document of --metadata-file; empty after a failure."""
    seconds: float

    @property
    def digest(self) -> str:
        """Of the image or index that was made."""
        found = self.metadata["containerimage.digest"]
        assert isinstance(found, str)
        return found


@dataclass(frozen=True)
class BuildKit:
    address: str
    """For BUILDKIT_HOST and `buildctl --addr`."""
    buildctl: Path
    log: Path
    """The daemon's."""

    def call(
        self, *words: object, env: Mapping[str, str] | None = None, limit_s: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """buildctl, whatever its exit code."""
        command = [str(self.buildctl), "--addr", self.address, *map(str, words)]
        own = {**os.environ, **(env or {})}
        return subprocess.run(command, env=own, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s)

    def build(
        self,
        context: Path,
        *words: str,
        dockerfile: str = "Dockerfile",
        push: str | None = None,
        to: Path | None = None,
        more: str = "",
        env: Mapping[str, str] | None = None,
        limit_s: float = BUILD_LIMIT_S,
    ) -> Built:
        """One build of a Dockerfile. It ends with its exit code; a failure is not raised.

        `dockerfile` is relative to the context. `push` names an image to push, with `more` attributes of that output
        (",compression=zstd"); `to` is a folder that gets the files of the image. Without either nothing is kept but the cache.
        `words` go to buildctl as they are: "--opt=build-arg:A=1", "--secret=id=ca,src=...".
        """
        with tempfile.TemporaryDirectory(prefix="trainyard-build-") as scratch:
            metadata = Path(scratch) / "metadata.json"
            place = (context / dockerfile).resolve()
            command = ["build", "--progress=plain", "--frontend=dockerfile.v0", f"--local=context={context}"]
            command += [f"--local=dockerfile={place.parent}", f"--opt=filename={place.name}", f"--metadata-file={metadata}"]
            command += output(push, to, more)
            began = time.monotonic()
            done = self.call(*command, *words, env=env, limit_s=limit_s)
            said = json.loads(metadata.read_text()) if metadata.exists() else {}
            return Built(done.returncode, done.stdout + done.stderr, said, time.monotonic() - began)


def output(push: str | None, to: Path | None, more: str) -> Sequence[str]:
    if push:
        return [f"--output=type=image,name={push},push=true{more}"]
    return [f"--output=type=local,dest={to}{more}"] if to else []


@contextmanager
def buildkit(mirror: str) -> Iterator[BuildKit]:
    """A daemon whose docker.io is the registry at `mirror` (127.0.0.1:PORT). Ready in about 0.2 s."""
    programs = parts.folder("buildkit")

    def command(folder: Path) -> list[object]:
        said = CONFIGURATION.format(folder=folder, runc=shutil.which("runc"), mirror=mirror)
        (folder / "buildkitd.toml").write_text(said)
        return [programs / "buildkitd", "--config", folder / "buildkitd.toml"]

    with keep("buildkit", command) as process:
        running = BuildKit(f"unix://{process.folder}/buildkitd.sock", programs / "buildctl", process.log)
        process.wait_until(lambda: running.call("debug", "workers").returncode == 0)
        yield running
