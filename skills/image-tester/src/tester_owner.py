"""Whose a test container is: labels that name the process that made it, on which machine and since when."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

import trainyard_docker
import trainyard_process
import trainyard_shell as shell
from trainyard_docker import Docker

MANAGED, SKILL = "app.kubernetes.io/managed-by=trainyard", "trainyard.dev/skill=image-tester"
TOKEN, OWNER = "trainyard.dev/test", "trainyard.dev/owner"
FORMAT = '{{.ID}}\t{{.Label "trainyard.dev/owner"}}\t{{.Image}}\t{{.Status}}'
SEPARATOR = "/"


@dataclass(frozen=True)
class Leftover:
    """A container of this skill."""

    id: str
    image: str
    status: str
    state: str
    """dead: its caller has ended; alive; elsewhere: of another machine or user's namespace, or it cannot be said."""


def labels(token: str) -> dict[str, str]:
    """Of a container that this process makes."""
    found = dict(each.split("=", 1) for each in (MANAGED, SKILL))
    return {**found, TOKEN: token, OWNER: _me()}


def _me() -> str:
    """machine/boot/pid/start; `unknown` where the system does not say: such a container is never taken for a leftover."""
    own = trainyard_process.identify(os.getpid())
    machine = _machine()
    if own is None or not machine or not own.boot_id:
        return "unknown"
    return SEPARATOR.join((machine, own.boot_id, str(own.pid), str(own.start_time)))


def _machine() -> str:
    """The machine and its pid namespace: in another one the same pid is another process."""
    try:
        return f"{socket.gethostname()}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def of_token(docker: Docker, token: str) -> list[str]:
    """The containers with this label. Raises SkillError."""
    return _list(docker, f"label={TOKEN}={token}", "{{.ID}}")


def leftovers(docker: Docker) -> list[Leftover]:
    """All containers of this skill. Raises SkillError."""
    found = []
    for line in _list(docker, f"label={SKILL}", FORMAT):
        id, owner, image, status = (line.split("\t") + [""] * 4)[:4]
        found.append(Leftover(id, shell.clean(image, 300), shell.clean(status, 100), _state(owner)))
    return found


def _state(owner: str) -> str:
    parts = owner.split(SEPARATOR)
    if len(parts) != 4 or parts[0] != _machine() or not (parts[2].isdigit() and parts[3].isdigit()):
        return "elsewhere"
    identity = trainyard_process.Identity(parts[1], int(parts[2]), int(parts[3]))
    return "alive" if trainyard_process.is_alive(identity) else "dead"


def _list(docker: Docker, filter: str, format: str) -> list[str]:
    done = trainyard_docker.run(docker.program, "ps", "--all", "--no-trunc", "--filter", filter, "--format", format)
    if done.code:
        raise trainyard_docker.no_daemon(done)
    return [line for line in done.out.splitlines() if line.strip()]
