"""Images for the tests of image-tester, in a real Docker of the session's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tester_call import Images

from tests.components.images import fixtures


def pytest_configure(config: pytest.Config) -> None:
    fixtures.register(config)


@pytest.fixture(scope="session")
def images(old_docker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    made = Images(old_docker, tmp_path_factory.mktemp("images"))
    yield made
    assert made.containers() == []
