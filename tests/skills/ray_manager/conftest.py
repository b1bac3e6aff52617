"""A test has the real API server with the real KubeRay, a namespace of its own, and the program bound to them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from ray_calls import FAKE, Ray

from tests.components.cluster import fixtures
from tests.components.cluster.running import Cluster


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)


@pytest.fixture
def ray(cluster: Cluster, namespace: str) -> Ray:
    return Ray(cluster, namespace)


@pytest.fixture(scope="module")
def shared_ray(cluster: Cluster) -> Iterator[Ray]:
    """One namespace for the claims of a module that only look."""
    name = f"test-ray-{secrets.token_hex(4)}"
    cluster.make_namespace(name)
    yield Ray(cluster, name)
    cluster.remove_namespace(name)


@pytest.fixture(scope="module")
def fake_cluster(shared_ray: Ray) -> str:
    """The name of a RayCluster of three pods on pretended nodes, ready, in the shared namespace."""
    made = shared_ray.create("pretended", "--gpus", "8", *FAKE, nodes=3)
    assert made.exit_code == 0, made.document
    ready = shared_ray("wait", "pretended", "--timeout", "60")
    assert ready.exit_code == 0, ready.document
    return "pretended"
