"""The `docker` command line: which one it is, whether its daemon answers, and calls that end within a deadline.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
The command line is what people have configured (contexts, DOCKER_HOST, credential helpers); the SDK's build is the classic builder.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell

ANSWER_S = 20.0
MAX_ANSWER_CHARS = 4 << 20
START_IT = (
    "start Docker (`systemctl start docker`, or Docker Desktop). Without it images are built and tested on AWS "
    "(build_image_codebuild.py, test_image_codebuild.py), and push_image.py takes an archive (oci:PATH) or an image in ECR (ecr:REFERENCE)"
)


@dataclass(frozen=True)
class Docker:
    """A command line whose daemon answers."""

    program: str
    """Path of the command line."""
    client: tuple[int, ...]
    server: tuple[int, ...]
    """Versions, say (20, 10, 24)."""
    os: str
    arch: str
    """Of the daemon: linux, amd64."""


@dataclass(frozen=True)
class Done:
    """A call that has ended."""

    words: tuple[str, ...]
    code: int
    out: str
    err: str


def find(program: str = "docker") -> Docker:
    """The command line and its daemon. Raises SkillError dependency (no program), unreachable (no daemon), permission."""
    path = shutil.which(program)
    if path is None:
        raise shell.SkillError("dependency", f"there is no program {program} on this machine", hint=START_IT)
    done = run(path, "version", "--format", "{{json .}}")
    server = _object(done.out).get("Server") or {}
    if not server:
        raise no_daemon(done)
    client = _object(done.out).get("Client") or {}
    return Docker(
        path,
        numbers(str(client.get("Version", ""))),
        numbers(str(server.get("Version", ""))),
        str(server.get("Os", "linux")),
        str(server.get("Arch", "")),
    )


def no_daemon(done: Done) -> shell.SkillError:
    """Why a daemon did not answer."""
    said = shell.clean((done.err or done.out).strip()[-500:])
    if "permission denied" in said.lower():
        hint = "a member of the group docker may: `sudo usermod -aG docker $USER`, then sign in again"
        return shell.SkillError("permission", f"you have no permission to use the Docker daemon: {said}", hint=hint)
    return shell.SkillError("unreachable", f"the Docker daemon does not answer: {said}", hint=START_IT, retryable=True)


def run(path: str, *words: str, timeout_s: float = ANSWER_S, input: str | None = None) -> Done:
    """One call, its output as text. Raises SkillError timeout, dependency where it cannot be started."""
    try:
        done = subprocess.run(
            [path, *words],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            timeout=timeout_s,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        message = f"`docker {' '.join(words[:2])}` did not end within {timeout_s:g} s"
        raise shell.SkillError(
            "timeout", message, hint="is the daemon busy? `docker info`; then the same call", retryable=True
        ) from error
    except OSError as error:
        raise shell.SkillError("dependency", f"{path} cannot be started: {error.strerror or error}", hint=START_IT) from error
    return Done(words, done.returncode, done.stdout[:MAX_ANSWER_CHARS], done.stderr[-MAX_ANSWER_CHARS:])


def numbers(text: str) -> tuple[int, ...]:
    """The version in a text: `github.com/docker/buildx v0.32.1 ...` -> (0, 32, 1); () where there is none."""
    found = re.search(r"(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?", text)
    return tuple(int(each) for each in found.groups() if each) if found else ()


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
