"""The kit's modules, imported from where they are written, and the test cluster."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.components.cluster import fixtures
from tests.components.cluster.running import Cluster

# The kit is no package: each skill has a copy beside its programs, and finds it there in the same way.
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "skills" / "kit"))

import trainyard_kube as kube


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a kubeconfig the one that is used. The client library reads KUBECONFIG once, when it is imported: a program's life."""
    return lambda path: monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))


@pytest.fixture
def api(cluster: Cluster, namespace: str, use: Callable[[Path], None]) -> kube.Cluster:
    """The kit's client, as the administrator, in a namespace of the test's own."""
    use(cluster.kubeconfig)
    return kube.connect(kube.Where(namespace=namespace))
