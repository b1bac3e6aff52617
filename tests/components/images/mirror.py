"""What answers for docker.io: a registry without a login that holds the base image and the Dockerfile frontend.

`FROM python:3.11-slim` and `# syntax=docker/dockerfile:1` find them there, in BuildKit and in the old Docker alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.components.images import base_image, layers, parts
from tests.components.images.pushing import push
from tests.components.images.registry import Registry, registry

CAPABILITIES = ("moby.buildkit.frontend.inputs", "moby.buildkit.frontend.subrequests", "moby.buildkit.frontend.contexts")
FRONTEND = {
    "Labels": {"moby.buildkit.frontend.network.none": "true", "moby.buildkit.frontend.caps": ",".join(CAPABILITIES)},
    "Entrypoint": ["/bin/dockerfile-frontend"],
}
"""As moby/buildkit's frontend/dockerfile/cmd/dockerfile-frontend/Dockerfile has it."""


@contextmanager
def mirror(find_links: str) -> Iterator[Registry]:
    """`find_links`: the URL that the base image gives to pip and uv."""
    with registry() as hub:
        push_images(hub, find_links)
        yield hub


def push_images(hub: Registry, find_links: str) -> None:
    base, frontend = layers.read(parts.folder("base")), layers.read(parts.folder("buildkit") / "frontend")
    push(hub, base_image.NAME, base_image.TAG, [base], base_image.config(find_links))
    push(hub, "docker/dockerfile", "1", [frontend], FRONTEND)
