"""The Debian packages that a cluster's programs come from, and installing those that are absent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PROGRAMS = {
    "containerd": "containerd",
    "runc": "runc",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "mmdebstrap": "mmdebstrap",
    "iptables": "iptables",
    "ipset": "ipset",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "sysctl": "procps",
    "openssl": "openssl",
    "curl": "curl",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
}
"""Program (or file) -> the Debian package that brings it."""


def absent_packages() -> list[str]:
    return [package for program, package in PROGRAMS.items() if not (os.path.exists(program) or shutil.which(program))]


def install_packages() -> list[str]:
    """Install what is absent, and name it. Raises CalledProcessError with apt's words in `stderr`."""
    absent = absent_packages()
    if absent:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in (["update"], ["install", "--yes", "--no-install-recommends", *absent]):
            command = ["apt-get", "--quiet", *words]
            subprocess.run(command, check=True, env=environment, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    return absent
