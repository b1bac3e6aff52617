"""The fixture `aws`: one set of processes a session, as new for each test.

A conftest.py brings it in with `fixtures.register(config)` in its pytest_configure.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.components.aws.needs import reason_against
from tests.components.aws.running import Aws, running


def register(config: pytest.Config) -> None:
    """From the pytest_configure of any conftest.py; the session still has one."""
    this = sys.modules[__name__]
    if not config.pluginmanager.is_registered(this):
        config.pluginmanager.register(this)


@pytest.fixture(scope="session")
def aws_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """Skipped with the reason where it cannot run."""
    if reason := reason_against():
        pytest.skip(reason)
    with running(tmp_path_factory.mktemp("aws") / "server.log") as aws:
        yield aws


@pytest.fixture
def aws(aws_session: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """AWS on loopback, with nothing in it. A profile or session of this machine's user is out of sight."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    aws_session.reset()
    return aws_session
