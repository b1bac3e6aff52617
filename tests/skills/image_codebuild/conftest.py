"""Builds and tests of images on CodeBuild: AWS's stand-in, whose builds run here with a real BuildKit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import codebuild_call as call
import pytest

from tests.components.aws import fixtures as aws
from tests.components.aws.running import Aws
from tests.components.build_host import fixtures as build_host
from tests.components.build_host.fixtures import BuildHost
from tests.components.images import fixtures as images


def pytest_configure(config: pytest.Config) -> None:
    for each in (aws, images, build_host):
        each.register(config)


@pytest.fixture
def codebuild(aws: Aws, build_host: BuildHost, tmp_path: Path) -> Iterator[call.CodeBuild]:
    """An account with the project and no bucket; caches, logs and state of the programs lie in the test's folder."""
    aws.make_project(call.PROJECT)
    yield call.CodeBuild(aws, build_host, tmp_path)
