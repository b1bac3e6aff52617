"""buildx from Go modules and the AWS command line from PyPI, each made once in ~/.cache/trainyard, whole or not at all.

python -m tests.components.build_host.tools        # makes what the cache lacks: about two minutes the first time
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.components.cluster.needs import GO_MINIMUM, go_version
from tests.components.cluster.place import cache

VERSIONS = Path(__file__).with_name("versions.env")
MODULE = "github.com/docker/buildx"


def version(name: str) -> str:
    found = re.search(rf"^{name}=(\S+)$", VERSIONS.read_text(), re.MULTILINE)
    assert found, f"{VERSIONS.name} does not name {name}"
    return found[1]


def buildx() -> Path:
    """The program, which is docker's plugin at the same time."""
    return cache() / f"buildx@{version('BUILDX')}" / "buildx"


def aws_folder() -> Path:
    """Its `bin` holds `aws`."""
    return cache() / f"awscli@{version('AWSCLI')}"


def reason_against() -> str | None:
    """Why they cannot be had here, in one line; None where they are there or can be made."""
    if not buildx().exists() and go_version() < GO_MINIMUM:
        return f"buildx is built from Go modules, and there is no Go {'.'.join(map(str, GO_MINIMUM))} or newer"
    if not shutil.which("docker"):
        return "there is no docker command line on this machine"
    return None


def make() -> None:
    """What the cache lacks. Raises CalledProcessError, OSError."""
    if buildx().exists() and aws_folder().exists():
        return
    with alone():
        if not buildx().exists():
            whole(buildx().parent, _make_buildx)
        if not aws_folder().exists():
            whole(aws_folder(), _make_aws)


def _make_buildx(folder: Path) -> None:
    """It shares most of its packages with BuildKit, in the compiler's own cache."""
    ldflags = f"-s -w -X {MODULE}/version.Version=v{version('BUILDX')}"
    own = {"CGO_ENABLED": "0", "GOBIN": str(folder), "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    command = ["go", "install", "-trimpath", "-ldflags", ldflags, f"{MODULE}/cmd/buildx@v{version('BUILDX')}"]
    subprocess.run(command, check=True, env={**os.environ, **own}, stdout=sys.stderr)


def _make_aws(folder: Path) -> None:
    """In an environment of its own: it pins another botocore than boto3 wants."""
    uv = [str(Path(sys.executable).with_name("uv")), "--quiet"]
    subprocess.run(
        [*uv, "venv", "--python", sys.executable, "--relocatable", str(folder / "venv")], check=True, stdout=sys.stderr
    )
    python = str(folder / "venv" / "bin" / "python")
    words = [*uv, "pip", "install", "--compile-bytecode", "--python", python, f"awscli=={version('AWSCLI')}"]
    subprocess.run(words, check=True, stdout=sys.stderr)
    (folder / "bin").mkdir()
    (folder / "bin" / "aws").symlink_to("../venv/bin/aws")


def whole(folder: Path, maker: object) -> None:
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        maker(unfinished)  # type: ignore[operator]
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def alone() -> Iterator[None]:
    """Waits for another session's; the kernel frees the lock of one that was killed."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "build-host.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    if why := reason_against():
        sys.exit(why)
    make()
