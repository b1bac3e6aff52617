"""Whether this machine can run it, and installing the one Debian package it needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys

PROGRAM = PACKAGE = "docker-registry"


def reason_against() -> str | None:
    """Why it cannot run here; installs the package first, when root and it is absent."""
    if importlib.util.find_spec("moto") is None:
        return "the Python package moto[server] is missing: make setup"
    if shutil.which(PROGRAM):
        return None
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"there is no program {PROGRAM}: as root, apt-get install {PACKAGE}"
    install()
    return None if shutil.which(PROGRAM) else f"{PACKAGE} could not be installed"


def install() -> None:
    """apt starts no service here: its unit is masked by a policy that says no."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", PACKAGE]):
        command = ["apt-get", "--quiet", *words]
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        if done.returncode:
            print(f"{' '.join(command)}: {done.stderr[-1000:]}", file=sys.stderr)
            return
