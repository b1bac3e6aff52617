"""What Docker says of an image and of a container that has ended."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import trainyard_docker
import trainyard_files
import trainyard_shell as shell
from trainyard_docker import Docker

REFERENCE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,252}[a-zA-Z0-9])?(?::[0-9]{1,5})?/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
    r"(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
"""distribution/reference; bounded by MAX_REFERENCE_CHARS."""
MAX_REFERENCE_CHARS = 500
IMAGE_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")
LOCAL_ARCH = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image of the local Docker."""

    name: str
    id: str
    digest: str | None
    """repository@sha256:... of a registry that it was pulled from or pushed to."""
    os: str
    arch: str
    size_bytes: int
    """Unpacked."""
    user: str
    folder: str
    """Its working directory."""
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """How a container ended."""

    code: int | None = None
    oom: bool = False
    error: str = ""


def checked(name: str) -> str:
    """Raises SkillError usage for what cannot be an image."""
    if len(name) > MAX_REFERENCE_CHARS or not (REFERENCE.fullmatch(name) or IMAGE_ID.fullmatch(name)):
        message = f"{shell.clean(name, 200)!r} is not a valid image reference"
        raise shell.SkillError("usage", message, hint="repository:tag or repository@sha256:..., in lower case")
    return name


def image_of(docker: Docker, name: str) -> Image:
    """Raises SkillError not-found."""
    done = trainyard_docker.run(docker.program, "image", "inspect", checked(name))
    if done.code:
        if "No such image" in done.err or "not found" in done.err.lower():
            message = f"there is no image {name} in this Docker"
            raise shell.SkillError("not-found", message, hint=f"docker pull {name}; or `docker images` for its name here")
        raise trainyard_docker.no_daemon(done)
    found = _first(done.out)
    config = found.get("Config") or {}
    digests = found.get("RepoDigests") or []
    return Image(
        name=name,
        id=str(found.get("Id", "")),
        digest=_digest(name, [str(each) for each in digests]),
        os=str(found.get("Os", "")),
        arch=LOCAL_ARCH.get(str(found.get("Architecture")), str(found.get("Architecture", ""))),
        size_bytes=int(found.get("Size") or 0),
        user=shell.clean(str(config.get("User") or ""), 100),
        folder=str(config.get("WorkingDir") or "/"),
        command=tuple(str(each) for each in [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]),
        environment=dict(str(each).partition("=")[::2] for each in config.get("Env") or []),
    )


def _digest(name: str, digests: list[str]) -> str | None:
    if "@sha256:" in name:
        return name.partition("@")[2]
    repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
    same = [each for each in digests if each.partition("@")[0] in (repository, f"docker.io/library/{repository}")]
    found = (same or digests)[:1]
    return found[0].partition("@")[2] if found else None


def state_of(docker: Docker, container: str) -> State:
    """Raises SkillError unreachable."""
    done = trainyard_docker.run(docker.program, "container", "inspect", container)
    if done.code:
        raise trainyard_docker.no_daemon(done)
    state = _first(done.out).get("State") or {}
    code = state.get("ExitCode")
    return State(
        code if isinstance(code, int) else None, state.get("OOMKilled") is True, shell.clean(str(state.get("Error") or ""), 600)
    )


def _first(text: str) -> dict[str, Any]:
    try:
        found = trainyard_files.parse(text.encode())
    except trainyard_files.Unusable:
        found = None
    if not isinstance(found, list) or not found or not isinstance(found[0], dict):
        raise shell.SkillError(
            "unreachable", "`docker inspect` answers what cannot be read", hint="docker version", retryable=True
        )
    return found[0]
