"""Which builder this machine has: docker with buildx, docker alone (its own BuildKit), or buildctl with a BuildKit of its own."""

from __future__ import annotations

import os
import re
import shutil
import threading
from concurrent.futures import Future
from dataclasses import dataclass

import trainyard_docker
import trainyard_shell as shell

KINDS = ("auto", "buildx", "docker", "buildctl")
OWN_BUILDKIT_UNTIL = (23,)
"""From this version on the docker command builds through the buildx plugin only."""
INSTALL_BUILDX = (
    "install the buildx plugin (package docker-buildx-plugin or docker-buildx), or build with build_image_codebuild.py"
)


@dataclass(frozen=True)
class Engine:
    """A builder that answers."""

    kind: str
    """buildx | docker | buildctl"""
    program: str
    version: tuple[int, ...]
    """Of docker's daemon, or of buildkitd where it is buildctl; () where it does not say."""
    buildkit: tuple[int, ...]
    """Of the BuildKit that does the work; () where nobody knows."""
    arch: str = ""

    @property
    def has_store(self) -> bool:
        return self.kind != "buildctl"

    @property
    def told(self) -> str:
        version = ".".join(map(str, self.version)) or "of an unknown version"
        return f"{self.kind} {version}" + (
            f" (BuildKit {'.'.join(map(str, self.buildkit))})" if self.buildkit and self.kind != "buildctl" else ""
        )

    def builds(self, frontend: tuple[int, ...]) -> bool | None:
        """Whether its BuildKit is at least of this version; None where that is unknown."""
        return self.buildkit >= frontend if self.buildkit else None


def soon(kind: str, *, has_output: bool) -> Future[Engine]:
    """`find` in the background, while the rest of the program is read and the folders are: the command line takes its time."""
    future: Future[Engine] = Future()

    def look() -> None:
        try:
            future.set_result(find(kind, has_output=has_output))
        except BaseException as error:  # the caller's to raise
            future.set_exception(error)

    threading.Thread(target=look, daemon=True).start()  # nobody waits for it where the folders are refused
    return future


def find(kind: str, *, has_output: bool) -> Engine:
    """The builder of that kind, or with auto the first that answers. `has_output`: the image goes to a registry or a file, not to a store.

    Raises SkillError dependency, unreachable, permission.
    """
    if kind == "buildctl":
        return _buildctl()
    if kind == "auto" and os.environ.get("BUILDKIT_HOST") and has_output and shutil.which("buildctl"):
        return _buildctl()
    try:
        docker = trainyard_docker.find()
    except shell.SkillError as error:
        if kind == "auto" and os.environ.get("BUILDKIT_HOST") and shutil.which("buildctl"):
            return _buildctl()
        if kind == "auto" and error.code == "dependency":
            hint = f"{trainyard_docker.START_IT}; or buildctl with BUILDKIT_HOST"
            raise shell.SkillError(
                "dependency", "no builder on this machine: neither docker nor buildctl", hint=hint
            ) from error
        raise
    if kind == "buildx" or (kind == "auto" and docker.buildx is not None):
        return _buildx(docker)
    if docker.client >= OWN_BUILDKIT_UNTIL:
        message = f"docker {'.'.join(map(str, docker.client))} builds through its buildx plugin"
        hint = INSTALL_BUILDX if docker.buildx is None else "--builder buildx"
        raise shell.SkillError("dependency", message, hint=hint)
    return Engine("docker", docker.program, docker.server, _of_docker(docker.server), docker.arch)


def _of_docker(server: tuple[int, ...]) -> tuple[int, ...]:
    """The BuildKit in dockerd, by its release notes: 18.09 to 20.10 have 0.8 and older, 23.0 has 0.10, 24 0.11, 25 0.12, 26 0.13."""
    if not server:
        return ()
    return {23: (0, 10), 24: (0, 11), 25: (0, 12), 26: (0, 13)}.get(server[0], (0, 8) if server[0] < 23 else (0, 14))


def _buildx(docker: trainyard_docker.Docker) -> Engine:
    if docker.buildx is None:
        raise shell.SkillError(
            "dependency", "docker on this machine has no buildx plugin", hint=f"{INSTALL_BUILDX}, or --builder docker"
        )
    done = trainyard_docker.run(docker.program, "buildx", "inspect")
    said = re.search(r"^\s*Build[Kk]it(?: version)?:\s*v?(\d[\w.]*)", done.out, re.MULTILINE)
    buildkit = trainyard_docker.numbers(said[1]) if said else _of_docker(docker.server)
    return Engine("buildx", docker.program, docker.server, buildkit, docker.arch)


def _buildctl() -> Engine:
    program = shutil.which("buildctl")
    if program is None:
        raise shell.SkillError(
            "dependency", "there is no program buildctl on this machine", hint="install BuildKit, or --builder docker"
        )
    done = trainyard_docker.run(program, "debug", "workers")
    if done.code != 0:
        said = shell.clean(done.err.strip()[-400:])
        address = os.environ.get("BUILDKIT_HOST") or "its default address"
        code = "permission" if "permission denied" in said else "unreachable"
        hint = "start buildkitd, and set BUILDKIT_HOST to its address (unix:///run/buildkit/buildkitd.sock)"
        raise shell.SkillError(
            code, f"buildkitd does not answer at {address}: {said}", hint=hint, retryable=code == "unreachable"
        )
    info = trainyard_docker.run(program, "debug", "info")
    found = re.search(r"BuildKit:\s*\S*\s*v?(\d[\w.]*)", info.out) if info.code == 0 else None
    version = trainyard_docker.numbers(found[1]) if found else ()
    return Engine("buildctl", program, version, version)
