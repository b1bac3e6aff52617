"""The test cluster, the program as its administrator calls it, and a small client for what the tests themselves make."""

from __future__ import annotations

import pytest
from cm_api import Api
from cm_calls import Manage, manage_with

from tests.components.cluster import fixtures
from tests.components.cluster.running import Cluster


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)


@pytest.fixture
def manage(cluster: Cluster) -> Manage:
    """As the administrator of the test cluster."""
    return manage_with(cluster.kubeconfig)


@pytest.fixture(scope="session")
def api(cluster: Cluster) -> Api:
    return Api(cluster.kubeconfig)
