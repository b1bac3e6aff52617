"""The fixtures for images, each started once a process of pytest and ended with it, also when that is killed:

    small_torch     URL for --find-links: a torch of 0.85 GB that trains on a CPU; the base image has it in PIP_FIND_LINKS
    mirror          what answers for docker.io: python:3.11-slim, docker/dockerfile:1
    buildkit        BuildKit 0.34: buildkit.build(folder, push=...)
    old_docker      Docker 20.10: old_docker.run("ps"), old_docker.build(folder, tag=...)
    new_docker      Docker 29 with buildx, in the same way; only for tests marked `full_images`
    plain_registry  a registry without a login, to push to; `registry.registry(users=...)` makes others

A conftest.py brings them in with `register` below.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Iterator

import pytest

from tests.components.images import buildkit as buildkits
from tests.components.images import find_links, needs, new_docker, old_docker, parts
from tests.components.images import mirror as mirrors
from tests.components.images import registry as registries

FIXTURES = ("small_torch", "mirror", "buildkit", "old_docker", "new_docker", "plain_registry")
full_images = pytest.mark.skipif(
    os.environ.get("FULL_IMAGES") != "1", reason="by design: make test-images runs it (FULL_IMAGES=1)"
)
"""For tests that take more than some seconds."""


def register(config: pytest.Config) -> None:
    """From the pytest_configure of any conftest.py."""
    this = sys.modules[__name__]
    if not config.pluginmanager.is_registered(this):
        config.pluginmanager.register(this)


def uses(item: pytest.Item) -> bool:
    return not {*FIXTURES, "images_possible"}.isdisjoint(getattr(item, "fixturenames", ()))


def wanted_by(item: pytest.Item) -> tuple[str, ...]:
    """Parts; what is skipped wants none."""
    new = "new_docker" in getattr(item, "fixturenames", ()) and os.environ.get("FULL_IMAGES") == "1"
    return (*parts.ALL, "new-docker") if new else parts.ALL


def to_be_built(wanted: tuple[str, ...] = parts.ALL) -> bool:
    """Building would take minutes here, and can be done."""
    return needs.reason_against(wanted) is None and bool(parts.missing(wanted))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Build here and not in a fixture: the limit of a test's time includes its fixtures, and building from nothing takes longer."""
    if uses(item) and to_be_built(wanted_by(item)):
        try:
            parts.build(wanted_by(item))
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"building the components for images failed: {error}", file=sys.stderr)
    return (yield)


@pytest.fixture(scope="session")
def images_possible() -> None:
    """Skips, with the reason, where images can be neither built nor run. A failed build fails again here."""
    if reason := needs.reason_against():
        pytest.skip(reason)
    parts.build()


@pytest.fixture(scope="session")
def small_torch(images_possible: None) -> Iterator[str]:
    with find_links.served(parts.folder("small-torch")) as url:
        yield url


@pytest.fixture(scope="session")
def mirror(small_torch: str) -> Iterator[registries.Registry]:
    with mirrors.mirror(small_torch) as running:
        yield running


@pytest.fixture(scope="session")
def plain_registry(images_possible: None) -> Iterator[registries.Registry]:
    with registries.registry() as running:
        yield running


@pytest.fixture(scope="session")
def buildkit(mirror: registries.Registry) -> Iterator[buildkits.BuildKit]:
    with buildkits.buildkit(mirror.address) as running:
        yield running


@pytest.fixture(scope="session", name="old_docker")
def old_docker_fixture(mirror: registries.Registry) -> Iterator[old_docker.OldDocker]:
    if not old_docker.version().startswith(old_docker.VERSION):
        pytest.skip(f"the old Docker is Debian 12's {old_docker.VERSION}; here is {old_docker.version() or 'none'}")
    with old_docker.old_docker(mirror.address) as running:
        yield running


@pytest.fixture(scope="session", name="new_docker")
def new_docker_fixture(mirror: registries.Registry) -> Iterator[new_docker.NewDocker]:
    parts.build([*parts.ALL, "new-docker"])
    with new_docker.new_docker(mirror.address) as running:
        yield running
