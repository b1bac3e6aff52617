"""The process that all tests of the examples start their runs from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.training.examples.nursery import Nursery, running_nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    with running_nursery() as nursery:
        yield nursery
