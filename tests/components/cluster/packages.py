"""The Debian packages that a cluster's programs come from, and installing those that are absent."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.components.cluster.place import cache

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


POLICY = Path("/usr/sbin/policy-rc.d")
"""Asked by Debian's packages before they start a service; 101 forbids it."""


def absent_packages(programs: Mapping[str, str] = PROGRAMS) -> list[str]:
    return [package for program, package in programs.items() if not (os.path.exists(program) or shutil.which(program))]


@contextmanager
def no_service_starts() -> Iterator[None]:
    """A package that brings a daemon would start it, with rules and ports of its own. Should we be killed, the file forbids nothing."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text(f"#!/bin/sh\n[ ! -d /proc/{os.getpid()} ] || exit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def install_packages(programs: Mapping[str, str] = PROGRAMS) -> list[str]:
    """Install what is absent, and name it. Raises CalledProcessError with apt's words in `stderr`."""
    if not absent_packages(programs):
        return []
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "packages.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # apt-get does not wait for another's `update`
        absent = absent_packages(programs)
        if absent:
            install(absent)
    return absent


def install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_service_starts():
        for words in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            command = ["apt-get", "--quiet", *words]
            subprocess.run(command, check=True, env=environment, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
