"""AWS's launcher from the package index, in an environment of its own: made once in ~/.cache/trainyard, whole or not at all.

python -m tests.components.hyperpod.launcher       # makes it where it is missing: 4.6 GB, half a minute

It runs with this checkout's Python, and a pod of the test cluster runs it with Debian's, as it runs the tests' own packages. It is
mounted into the pods and never copied into an image.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.components.cluster.place import cache

ROOT = Path(__file__).resolve().parents[3]
VERSION = "1.1.3"
NEEDED = ("numpy", "xxhash", "isal", "safetensors")
"""What the runtime imports beside torch."""
IN_PODS = "/opt/hyperpod-agent"
STARTER = """#!/usr/bin/env python3
import sys

from hyperpod_elastic_agent.run import main

sys.exit(main())
"""


def folder() -> Path:
    return cache() / f"hyperpod-agent@{VERSION}-python{platform.python_version()}"


def program() -> Path:
    """`hyperpodrun`, for this machine."""
    return folder() / "bin" / "hyperpodrun"


def python() -> Path:
    return folder() / "bin" / "python"


def in_pods() -> dict[str, str]:
    """PATH and PYTHONPATH of a container that has the folder at IN_PODS, before its image's own packages: they hold another torch."""
    site = Path(sysconfig.get_path("purelib", "venv", vars={"base": IN_PODS, "platbase": IN_PODS}))
    paths = [f"{IN_PODS}/in-pods", "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"]
    return {"PATH": ":".join(paths), "PYTHONPATH": f"{site}:/workspace/training:/workspace"}


def reason_against() -> str | None:
    """Why the launcher cannot be run here, in one line; None where it is there."""
    if program().exists():
        return None
    return f"HyperPod's launcher is not in {folder()}: python -m tests.components.hyperpod.launcher makes it (4.6 GB)"


def need() -> None:
    """Make it where everything is required, as in CI; elsewhere skip the test where it is absent."""
    if os.environ.get("TRAINYARD_REQUIRE") == "all":
        make()
    if reason := reason_against():
        pytest.skip(reason)


def make() -> None:
    """What the cache lacks. Raises CalledProcessError, OSError."""
    if program().exists():
        return
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "hyperpod-agent.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if not program().exists():
            _make(folder().with_name(f"{folder().name}.making"))


def _make(new: Path) -> None:
    shutil.rmtree(new, ignore_errors=True)
    uv = Path(sys.executable).with_name("uv")
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.split("==")[0] in NEEDED]
    wanted = [f"hyperpod-elastic-agent=={VERSION}", *pins]
    # Relocatable: the folder gets its name when it is whole. Compiled: a launcher and its worker import torch at each start, and pods
    # may not write here.
    for words in (
        ["venv", "--quiet", "--relocatable", "--python", sys.executable, str(new)],
        ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(new / "bin" / "python"), *wanted],
    ):
        subprocess.run([uv, *words], check=True, stdout=sys.stderr)
    starter = new / "in-pods" / "hyperpodrun"
    starter.parent.mkdir()
    starter.write_text(STARTER)
    starter.chmod(0o755)
    shutil.rmtree(folder(), ignore_errors=True)
    new.rename(folder())


if __name__ == "__main__":
    make()
    print(folder())
