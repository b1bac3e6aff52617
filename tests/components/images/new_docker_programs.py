"""The Docker of today: dockerd and docker of the 29 line, buildx, and the runc that this dockerd asks for."""

from __future__ import annotations

from pathlib import Path

from tests.components.images import go_programs

CLI, BUILDX = "github.com/docker/cli", "github.com/docker/buildx"
MOBY, RUNC = "github.com/moby/moby/v2", "github.com/opencontainers/runc"


def make(folder: Path) -> None:
    """About 4 CPU-minutes where BuildKit is built already; needs libseccomp-dev. Raises CalledProcessError."""
    docker, buildx = go_programs.version("buildx", CLI).partition("+")[0], go_programs.version("buildx", BUILDX)
    said = {f"{CLI}/cli/version.Version": docker.removeprefix("v"), f"{BUILDX}/version.Version": buildx}
    # docker/cli has no go.mod, and without one Go takes it for source of Go 1.16.
    language = f"{CLI}/...=-lang=go1.25"
    go_programs.make("buildx", [f"{CLI}/cmd/docker", f"{BUILDX}/cmd/buildx"], folder, said, compiler=language)
    (folder / "cli-plugins").mkdir()
    (folder / "buildx").rename(folder / "cli-plugins" / "docker-buildx")
    # The module calls itself v2.0.0-beta; the releases made of it are called as the command line is.
    go_programs.make("moby", [f"{MOBY}/cmd/dockerd"], folder, {f"{MOBY}/dockerversion.Version": docker.removeprefix("v")})
    # Without seccomp a container's profile is refused; Debian's runc 1.1.5 does not know the time namespace.
    go_programs.make("runc", [RUNC], folder, c_tags="seccomp")
