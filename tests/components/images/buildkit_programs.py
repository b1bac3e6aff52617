"""BuildKit's daemon, its client and its Dockerfile frontend, built from Go modules.

One module (wrapper/) requires them, for `go install` refuses a module whose go.mod has exclude lines. The compiler's caches are Go's
own, as with the cluster: what BuildKit and Kubernetes share is compiled once.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.components.images import layers

HERE = Path(__file__).parent
MODULE = "github.com/moby/buildkit"
PACKAGES = ("cmd/buildkitd", "cmd/buildctl", "frontend/dockerfile/cmd/dockerfile-frontend")


def version() -> str:
    found = re.search(rf"{MODULE} (v\S+)", (HERE / "wrapper" / "go.mod").read_text())
    assert found, "wrapper/go.mod does not require BuildKit"
    return found[1]


def make(folder: Path) -> None:
    """buildkitd, buildctl, and the frontend as the one layer of an image. About 3 minutes on two cores; raises CalledProcessError."""
    ldflags = f"-s -w -X {MODULE}/version.Version={version()}"
    command = [
        "go",
        "build",
        "-C",
        str(HERE / "wrapper"),
        "-mod=readonly",
        "-trimpath",
        "-ldflags",
        ldflags,
        "-o",
        f"{folder}/",
    ]
    own = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    packages = [f"{MODULE}/{package}" for package in PACKAGES]
    subprocess.run([*command, *packages], check=True, env={**os.environ, **own}, stdout=sys.stderr)
    frontend = folder / "dockerfile-frontend"
    layers.of_file(frontend, f"bin/{frontend.name}", folder / "frontend")
    frontend.unlink()
