"""The fixture `build_host`: builds of the fixture `aws` find docker with buildx, whose builder is BuildKit's own daemon, and `aws`.

A conftest.py brings it in with `fixtures.register(config)`, beside those of `aws` and of the images.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.components.aws.running import Aws
from tests.components.build_host import tools
from tests.components.images.buildkit import BuildKit

BUILDER = "tests"


@dataclass(frozen=True)
class BuildHost:
    aws: Aws
    path: str
    """For PATH."""
    docker_config: Path

    def environment(self, **more: str) -> dict[str, str]:
        """For programs here that call `aws` and `docker`."""
        own = {"PATH": self.path, "DOCKER_CONFIG": str(self.docker_config), "BUILDX_BUILDER": BUILDER}
        return {**os.environ, **self.aws.environment, **own, **more}


def register(config: pytest.Config) -> None:
    """From the pytest_configure of any conftest.py; the session still has one."""
    this = sys.modules[__name__]
    if not config.pluginmanager.is_registered(this):
        config.pluginmanager.register(this)


@pytest.fixture(scope="session")
def aws_command_line() -> Path:
    """The folder that holds `aws`."""
    if reason := tools.reason_against():
        pytest.skip(reason)
    tools.make()
    return tools.aws_folder() / "bin"


@pytest.fixture(scope="session")
def build_host(
    aws_session: Aws, buildkit: BuildKit, aws_command_line: Path, tmp_path_factory: pytest.TempPathFactory
) -> BuildHost:
    config = tmp_path_factory.mktemp("docker")
    (config / "cli-plugins").mkdir()
    (config / "cli-plugins" / "docker-buildx").symlink_to(tools.buildx())
    host = BuildHost(aws_session, f"{aws_command_line}:{os.environ['PATH']}", config)
    words = ["docker", "buildx", "create", "--name", BUILDER, "--driver", "remote", buildkit.address]
    subprocess.run(words, check=True, env=host.environment(), capture_output=True, timeout=60)
    aws_session.build_environment(PATH=host.path, DOCKER_CONFIG=str(config), BUILDX_BUILDER=BUILDER)
    return host
