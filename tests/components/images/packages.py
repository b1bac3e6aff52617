"""What Debian brings: the old Docker, the registry, and tools to look into images. Installed as the cluster's packages are."""

from __future__ import annotations

PROGRAMS = {
    "dockerd": "docker.io",
    "docker-registry": "docker-registry",
    "skopeo": "skopeo",
    "htpasswd": "apache2-utils",
    "runc": "runc",
    "mmdebstrap": "mmdebstrap",
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "readelf": "binutils",
}
"""Program -> the Debian package that brings it."""
FOR_NEW_DOCKER = {"containerd": "containerd", "/usr/include/seccomp.h": "libseccomp-dev"}
