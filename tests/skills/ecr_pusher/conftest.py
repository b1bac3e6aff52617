"""AWS on loopback for these tests, and images to push."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_made_images import Made, oci

from tests.components.aws import fixtures as aws_fixtures
from tests.components.aws.running import Aws


def pytest_configure(config: pytest.Config) -> None:
    aws_fixtures.register(config)


@pytest.fixture
def pusher(aws: Aws, tmp_path: Path) -> Pusher:
    """push_image.py, signed in, in an empty folder; its scratch files are looked after in `pusher.scratch`."""
    (tmp_path / "work").mkdir()
    (tmp_path / "scratch").mkdir()
    return Pusher(aws, tmp_path / "work", tmp_path / "scratch")


@pytest.fixture
def image(tmp_path: Path) -> Made:
    """An OCI archive with two layers, of 3 MB and a few bytes."""
    return oci(tmp_path / "image.tar", [os.urandom(3_000_000), b"hello\n"])


@pytest.fixture
def repository(pusher: Pusher) -> str:
    """One that ensure-repo made, in us-east-1."""
    made = pusher.call("ensure-repo", "team/net")
    assert made.code == 0, made
    return "team/net"
