"""Fixtures of the end-to-end tests."""

import pytest
from install_place import place

from tests.components.hyperpod import fixtures

__all__ = ["place"]


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)
