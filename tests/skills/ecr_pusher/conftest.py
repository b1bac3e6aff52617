"""AWS on loopback for these tests, and images to push."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ecr_call import Pusher
from ecr_made_images import Made, oci

from tests.components.aws import fixtures as aws_fixtures
from tests.components.aws.running import Aws
from tests.components.images import fixtures as image_fixtures


def pytest_configure(config: pytest.Config) -> None:
    aws_fixtures.register(config)
    image_fixtures.register(config)


WOULD: dict[str, Any] = {}
"""What a dry run of ensure-repo would send, asked once."""


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
    """One as ensure-repo makes it, in us-east-1."""
    if not WOULD:
        WOULD.update(pusher.call("ensure-repo", "team/net", "--dry-run").data["regions"][0])
    pusher.ecr().create_repository(**WOULD["would_create"])
    pusher.ecr().put_lifecycle_policy(repositoryName="team/net", lifecyclePolicyText=json.dumps(WOULD["lifecycle_policy"]))
    return "team/net"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no tmpfs here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)
