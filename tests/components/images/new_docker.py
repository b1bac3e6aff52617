"""The Docker of today: dockerd 29 with containerd's image store, and its command line with buildx. For `make test-images`.

An image that was pulled from an index cannot be pushed by its `docker push` (`content digest ... not found`): push with buildx.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.components.images import docker_daemon, parts

NewDocker = docker_daemon.Docker


@contextmanager
def new_docker(mirror: str) -> Iterator[NewDocker]:
    """`docker build` and `docker buildx build` are the same there; --metadata-file and --push work."""
    programs = parts.folder("new-docker")
    plugins = programs / "cli-plugins"
    with docker_daemon.running("new-docker", programs / "docker", programs / "dockerd", mirror, {}, plugins) as docker:
        yield docker
