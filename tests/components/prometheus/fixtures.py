"""The fixture `prometheus`: one a session, without faults for each test. `register` as in tests.components.aws.fixtures."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest

from tests.components.prometheus import metrics
from tests.components.prometheus.program import reason_against
from tests.components.prometheus.running import Prometheus, running

HOT = "hyperpod-i-0ab0c000000000001"
"""A node whose first GPU was at 88 C for ten minutes, until six minutes before the session: an instant query looks back for five."""


def register(config: pytest.Config) -> None:
    this = sys.modules[__name__]
    if not config.pluginmanager.is_registered(this):
        config.pluginmanager.register(this)


@pytest.fixture(scope="session")
def prometheus_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Skipped with the reason where it cannot run."""
    if reason := reason_against():
        pytest.skip(reason)
    past = metrics.history(metrics.gpu_node(HOT, gpus=2, temperature=(88.0,)), end_s=time.time() - 360)
    with running(tmp_path_factory.mktemp("prometheus"), past) as prometheus:
        yield prometheus


@pytest.fixture
def prometheus(prometheus_session: Prometheus) -> Prometheus:
    prometheus_session.reset()
    return prometheus_session
