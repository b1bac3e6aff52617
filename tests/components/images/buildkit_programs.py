"""BuildKit's daemon, its client and its Dockerfile frontend."""

from __future__ import annotations

from pathlib import Path

from tests.components.images import go_programs, layers

MODULE = "github.com/moby/buildkit"
PACKAGES = ("cmd/buildkitd", "cmd/buildctl", "frontend/dockerfile/cmd/dockerfile-frontend")


def make(folder: Path) -> None:
    """buildkitd, buildctl, and the frontend as the one layer of an image. About 3 minutes on two cores; raises CalledProcessError."""
    said = {f"{MODULE}/version.Version": go_programs.version("buildkit", MODULE)}
    go_programs.make("buildkit", [f"{MODULE}/{package}" for package in PACKAGES], folder, said)
    frontend = folder / "dockerfile-frontend"
    layers.of_file(frontend, f"bin/{frontend.name}", folder / "frontend")
    frontend.unlink()
