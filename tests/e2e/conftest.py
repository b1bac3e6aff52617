"""Fixtures of the end-to-end tests."""

import pytest
from install_place import place

from tests.components.aws import fixtures as aws
from tests.components.build_host import fixtures as build_host
from tests.components.hyperpod import fixtures as hyperpod
from tests.components.hyperpod_nodes import fixtures as hyperpod_nodes
from tests.components.images import fixtures as images

__all__ = ["place"]


def pytest_configure(config: pytest.Config) -> None:
    for component in (hyperpod, hyperpod_nodes, aws, images, build_host):
        component.register(config)
