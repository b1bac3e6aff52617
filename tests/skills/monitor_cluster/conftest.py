"""The test cluster, and an API server that is played."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_of_a_run import Api, serving, write_kubeconfig
from monitor_calls import Monitor

from tests.components.cluster import fixtures
from tests.components.cluster.running import Cluster
from tests.components.prometheus import fixtures as prometheus_fixtures


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)
    prometheus_fixtures.register(config)


@pytest.fixture
def api() -> Iterator[Api]:
    with serving(Api()) as played:
        yield played


@pytest.fixture
def played(api: Api, tmp_path: Path) -> Monitor:
    """The program, asking the API server that is played."""
    return Monitor(write_kubeconfig(tmp_path / "kubeconfig", api), None, tmp_path)


@pytest.fixture
def monitor(cluster: Cluster, namespace: str, tmp_path: Path) -> Monitor:
    """The program as the administrator of the test cluster, in the test's namespace."""
    return Monitor(cluster.kubeconfig, namespace, tmp_path)
