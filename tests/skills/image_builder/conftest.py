"""The engines and registries for images."""

from __future__ import annotations

import pytest

from tests.components.images import fixtures as images


def pytest_configure(config: pytest.Config) -> None:
    images.register(config)
