"""Whether this machine can run it, and installing the Debian packages it needs."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping

from tests.components.cluster.packages import absent_packages, install_packages

PROGRAMS = {"docker-registry": "docker-registry"}
"""Program -> the Debian package that brings it."""


def reason_against(programs: Mapping[str, str] = PROGRAMS) -> str | None:
    """Why it cannot run here; installs the packages of `programs` first, when root and one is absent."""
    if importlib.util.find_spec("moto") is None:
        return "the Python package moto[server] is missing: make setup"
    if not absent_packages(programs):
        return None
    names = " ".join(programs.values())
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return f"AWS's stand-in needs {names}: as root, apt-get install {names}"
    try:
        install_packages(programs)
    except subprocess.CalledProcessError as error:
        return f"{names} could not be installed: {error.stderr[-500:]}"
    return None
