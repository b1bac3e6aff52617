"""The engines and registries for images, and AWS at the wire."""

from __future__ import annotations

import pytest

from tests.components.aws import fixtures as aws
from tests.components.images import fixtures as images


def pytest_configure(config: pytest.Config) -> None:
    images.register(config)
    aws.register(config)
