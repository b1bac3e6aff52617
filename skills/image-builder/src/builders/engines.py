"""Which builder this machine has: docker with buildx, docker alone (its own BuildKit), or buildctl with a BuildKit of its own."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import trainyard_docker
import trainyard_shell as shell

Answer = TypeVar("Answer")
KINDS = ("auto", "buildx", "docker", "buildctl")
OWN_BUILDKIT_UNTIL = (23,)
"""From this version on the docker command builds through the buildx plugin only."""
NO_PLUGIN = re.compile(r"'buildx' is not a docker command|unknown command: docker buildx")
"""The command line's own words, of 20.10 and of 29."""
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
    loads: bool = False
    """buildx whose builder is docker's own: what it builds lies in the store without being asked for."""

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
    return _begun(lambda: find(kind, has_output=has_output))


def _begun(work: Callable[[], Answer]) -> Future[Answer]:
    """In a thread that nobody waits for where the answer is not wanted after all."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # the caller's to raise
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def find(kind: str, *, has_output: bool) -> Engine:
    """The builder of that kind, or with auto the first that answers. `has_output`: the image goes to a registry or a file, not to a store.

    Raises SkillError dependency, unreachable, permission.
    """
    if kind == "buildctl":
        return _buildctl()
    if kind == "auto" and os.environ.get("BUILDKIT_HOST") and has_output and shutil.which("buildctl"):
        return _buildctl()
    inspected = _begun(_inspected) if kind != "docker" and shutil.which("docker") else None
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
    engine = _buildx(docker, inspected.result()) if inspected else None
    if engine is not None:
        return engine
    if kind == "buildx":
        hint = f"{INSTALL_BUILDX}, or --builder docker"
        raise shell.SkillError("dependency", "docker on this machine has no buildx plugin", hint=hint)
    if docker.client >= OWN_BUILDKIT_UNTIL:
        message = f"docker {'.'.join(map(str, docker.client))} builds through its buildx plugin"
        hint = "--builder buildx" if kind == "docker" and _has_plugin(docker.program) else INSTALL_BUILDX
        raise shell.SkillError("dependency", message, hint=hint)
    return Engine("docker", docker.program, docker.server, _of_docker(docker.server), docker.arch)


def _of_docker(server: tuple[int, ...]) -> tuple[int, ...]:
    """The BuildKit in dockerd, by its release notes: 18.09 to 20.10 have 0.8 and older, 23.0 has 0.10, 24 0.11, 25 0.12, 26 0.13."""
    if not server:
        return ()
    return {23: (0, 10), 24: (0, 11), 25: (0, 12), 26: (0, 13)}.get(server[0], (0, 8) if server[0] < 23 else (0, 14))


def _inspected() -> trainyard_docker.Done:
    """What buildx says of its builder; asked while docker is asked for its version."""
    return trainyard_docker.run("docker", "buildx", "inspect")


def _has_plugin(program: str) -> bool:
    done = trainyard_docker.run(program, "buildx", "version")
    return done.code == 0 and "buildx" in done.out


def _buildx(docker: trainyard_docker.Docker, inspected: trainyard_docker.Done) -> Engine | None:
    """None without the plugin. A builder that does not answer is one all the same: the build says why."""
    if "Driver:" not in inspected.out and (NO_PLUGIN.search(inspected.err) or not _has_plugin(docker.program)):
        return None
    said = re.search(r"^\s*Build[Kk]it(?: version)?:\s*v?(\d[\w.]*)", inspected.out, re.MULTILINE)
    buildkit = trainyard_docker.numbers(said[1]) if said else _of_docker(docker.server)
    loads = re.search(r"^Driver:\s*docker$", inspected.out, re.MULTILINE) is not None
    return Engine("buildx", docker.program, docker.server, buildkit, docker.arch, loads)


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
