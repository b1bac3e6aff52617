"""The test cluster with the played HyperPod operator, and the program as a user calls it."""

from __future__ import annotations

import pytest
from ptjob_call import Manager

from tests.components.cluster.running import Cluster
from tests.components.hyperpod import fixtures


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)


@pytest.fixture
def manager(cluster: Cluster, namespace: str) -> Manager:
    """As the administrator, in the test's namespace."""
    return Manager(cluster.kubeconfig, namespace)
