"""The components' own tests use them as every other test does."""

from __future__ import annotations

import pytest

from tests.components.aws import fixtures as aws
from tests.components.cluster import fixtures as cluster
from tests.components.hyperpod_nodes import fixtures as hyperpod_nodes
from tests.components.images import fixtures as images
from tests.components.prometheus import fixtures as prometheus


def pytest_configure(config: pytest.Config) -> None:
    aws.register(config)
    cluster.register(config)
    hyperpod_nodes.register(config)
    images.register(config)
    prometheus.register(config)
