"""The fixtures `cluster` (one for the whole test session) and `namespace` (one a test).

A conftest.py brings them in with `pytest_plugins = ["tests.components.cluster.fixtures"]` (the top one) or with `register` below.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Generator, Iterator

import pytest

from tests.components.cluster import build
from tests.components.cluster.needs import reason_against
from tests.components.cluster.running import Cluster, session_cluster

COMPONENTS = build.CONTROL_PLANE + build.REAL_NODE + build.OPERATORS


def register(config: pytest.Config) -> None:
    """From the pytest_configure of any conftest.py; the session still has one cluster."""
    this = sys.modules[__name__]
    if not config.pluginmanager.is_registered(this):
        config.pluginmanager.register(this)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Build here and not in a fixture: the limit of a test's time includes its fixtures, and building from nothing takes longer."""
    if "cluster" in getattr(item, "fixturenames", ()) and build.missing(COMPONENTS) and reason_against(COMPONENTS) is None:
        # A failure comes again in the fixture, and there it belongs to the tests that need the cluster.
        try:
            build.build(COMPONENTS)
        except subprocess.CalledProcessError as error:
            print(f"building the test cluster failed: {error}", file=sys.stderr)
    return (yield)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A ready cluster with every operator, one real node and the fleet; skipped with the reason where none can run."""
    if reason := reason_against(COMPONENTS):
        pytest.skip(reason)
    with session_cluster() as running:
        yield running


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of the test's own; what is in it goes with it, soon after the test."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.make_namespace(name)
    yield name
    cluster.remove_namespace(name)
