"""Fixtures of the end-to-end tests."""

import pytest
from install_place import place

from tests.components.aws import fixtures as aws
from tests.components.hyperpod import fixtures

__all__ = ["place"]


def pytest_configure(config: pytest.Config) -> None:
    aws.register(config)
    fixtures.register(config)
