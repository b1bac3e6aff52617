"""Whether this machine can run it, and installing the one Debian package it needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess

from tests.components.cluster.packages import absent_packages, install_packages

PROGRAMS = {"docker-registry": "docker-registry"}
"""Program -> the Debian package that brings it."""


def reason_against() -> str | None:
    """Why it cannot run here; installs the package first, when root and it is absent."""
    if importlib.util.find_spec("moto") is None:
        return "the Python package moto[server] is missing: make setup"
    if not absent_packages(PROGRAMS):
        return None
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return "AWS's stand-in needs docker-registry: as root, apt-get install docker-registry"
    try:
        install_packages(PROGRAMS)
    except subprocess.CalledProcessError as error:
        return f"docker-registry could not be installed: {error.stderr[-500:]}"
    return None
