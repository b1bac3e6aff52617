"""The fixture `build_host`: builds of the fixture `aws` find docker with buildx, whose builder is BuildKit's own daemon, and `aws`.

A conftest.py brings it in with `fixtures.register(config)`, beside those of `aws` and of the images.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.components.aws.running import Aws
from tests.components.build_host import tools
from tests.components.images.buildkit import BuildKit

BUILDER = "tests"
DOCKER = """#!/bin/sh
# Every build has a home of its own, as on CodeBuild, and with it its own logins; the plugin is linked there.
test -e "$HOME/.docker/cli-plugins/docker-buildx" || {{ mkdir -p "$HOME/.docker/cli-plugins" && ln -sf {buildx} "$HOME/.docker/cli-plugins/docker-buildx"; }}
exec {docker} "$@"
"""


@dataclass(frozen=True)
class BuildHost:
    aws: Aws
    path: str
    """For PATH."""
    buildx_config: Path

    def variables(self) -> dict[str, str]:
        """For builds, and for programs here that call `aws` and `docker`."""
        return {"PATH": self.path, "BUILDX_CONFIG": str(self.buildx_config), "BUILDX_BUILDER": BUILDER}


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
    folder = tmp_path_factory.mktemp("build-host")
    (folder / "bin").mkdir()
    docker = shutil.which("docker")
    (folder / "bin" / "docker").write_text(DOCKER.format(buildx=tools.buildx(), docker=docker))
    (folder / "bin" / "docker").chmod(0o755)
    host = BuildHost(aws_session, f"{folder / 'bin'}:{aws_command_line}:{os.environ['PATH']}", folder / "buildx")
    words = ["docker", "buildx", "create", "--name", BUILDER, "--driver", "remote", buildkit.address]
    env = {**os.environ, **host.variables(), "HOME": str(folder)}
    subprocess.run(words, check=True, env=env, capture_output=True, timeout=60)
    aws_session.build_environment(**host.variables())
    return host
