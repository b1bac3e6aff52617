"""The components' own tests use them as every other test does."""

from __future__ import annotations

import pytest

from tests.components.aws import fixtures as aws_fixtures
from tests.components.cluster import fixtures


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)
    aws_fixtures.register(config)
