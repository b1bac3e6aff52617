"""The session's test cluster."""

from __future__ import annotations

import pytest

from tests.components.cluster import fixtures


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)
