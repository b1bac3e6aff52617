"""The stand-in for `python:3.11-slim`: Debian 12 with Python 3.11, pip and venv, made by mmdebstrap.

Beside what the real one has, it trusts this machine's certificate authorities: pip in a build reaches the indexes that pip reaches
here. Debian's pip installs into dist-packages, the real image's into site-packages: Dockerfiles that have to work with both use a
virtual environment.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.components.images import layers

NAME, TAG = "library/python", "3.11-slim"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PACKAGES = ("python3", "python3-pip", "python3-venv", "ca-certificates", "passwd", "apt")
"""passwd has useradd, which Dockerfiles call; apt is there in the real image too."""
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*")
HOOKS = (
    f"copy-in {CERTIFICATES} {CERTIFICATES.parent}",
    f'printf "[global]\\ncert = {CERTIFICATES}\\n" >"$1/etc/pip.conf"',
    # The real image's pip installs without --break-system-packages, and its Python is called `python` too.
    'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED; ln -s /usr/bin/python3 "$1/usr/local/bin/python"',
    'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*',
)


def certificates_digest() -> str:
    return hashlib.sha256(CERTIFICATES.read_bytes() if CERTIFICATES.exists() else b"").hexdigest()


def make(folder: Path) -> None:
    """Its one layer. About 40 s, of them 8 to compress 194 MB; raises CalledProcessError."""
    tar = folder / "rootfs.tar"
    command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    command += [f"--customize-hook={hook}" for hook in HOOKS]
    subprocess.run([*command, "bookworm", str(tar)], check=True, stdout=sys.stderr)
    layers.of_tar(tar, folder)
    tar.unlink()


def config(find_links: str) -> dict[str, Any]:
    """What the image's configuration says. `find_links`: where pip and uv find wheels beside those of the index."""
    variables = {
        "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "SSL_CERT_FILE": str(CERTIFICATES),
        "PIP_FIND_LINKS": find_links,
        "UV_FIND_LINKS": find_links,
    }
    return {"Env": [f"{name}={value}" for name, value in variables.items()], "Cmd": ["python3"]}
