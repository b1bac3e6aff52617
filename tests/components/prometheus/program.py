"""Prometheus and promtool of Debian's package, extracted and not installed: a service of its own would start."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.components.cluster.place import cache

PACKAGE = "prometheus"


def candidate() -> str | None:
    """The version that apt would install; None where it knows none."""
    shown = subprocess.run(["apt-cache", "policy", PACKAGE], capture_output=True, text=True, check=False).stdout
    found = re.search(r"Candidate: (\S+)", shown)
    return found[1] if found and found[1] != "(none)" else None


def kept() -> Path | None:
    """The folder of both programs, if they were extracted before: the newest."""
    folders = sorted(cache().glob(f"{PACKAGE}@*"), key=lambda folder: folder.stat().st_mtime)
    return folders[-1] if folders else None


def reason_against() -> str | None:
    """Why it cannot run here; brings the programs first where they are absent."""
    if kept():
        return None
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return "Prometheus is taken from Debian's package, and there is no apt-get here"
    try:
        bring()
    except subprocess.CalledProcessError as error:
        return f"Debian's package {PACKAGE} could not be had: {error.stderr[-500:]}"
    return None


def bring() -> Path:
    """Raises CalledProcessError."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{PACKAGE}.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)
        if found := kept():
            return found
        if candidate() is None and os.geteuid() == 0:  # the lists of packages were cleared
            run("apt-get", "--quiet", "update")
        with tempfile.TemporaryDirectory(dir=cache()) as name:
            folder = Path(name)
            run("apt-get", "--quiet", "-o", "APT::Sandbox::User=root", "download", PACKAGE, folder=folder)
            [package] = folder.glob("*.deb")
            run("dpkg-deb", "--extract", str(package), "x", folder=folder)
            version = package.name.split("_")[1].replace("%3a", "-")
            target = cache() / f"{PACKAGE}@{version}"
            (folder / "x" / "usr" / "bin").rename(target)
        return target


def run(*command: str, folder: Path | None = None) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
