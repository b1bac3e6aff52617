"""Runs that live: a real process stands for supervisor and launcher."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from monitor_process import RUN_ID, identity
from monitor_run_writer import RunWriter

from tests.components.prometheus import fixtures as prometheus_fixtures


def pytest_configure(config: pytest.Config) -> None:
    prometheus_fixtures.register(config)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that carries the run id and waits until its stdin closes."""
    environment = {**os.environ, "TRAINYARD_RUN_ID": RUN_ID}
    # It says when it is there: until exec, /proc shows the environment of the parent.
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None and process.stdout.readline() == b"up\n"
    yield process
    process.kill()
    process.communicate(timeout=30)


@pytest.fixture
def living_run(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> RunWriter:
    """A run whose processes live and whose last step line is a minute old."""
    run = RunWriter(tmp_path / "living", now=time.time() - 80)
    run.launch()
    run.live()
    for _ in range(20):
        run.train()
    run.commit()
    whose = identity(sleeper.pid)
    run.runner("running", run_id=RUN_ID, supervisor=whose, launcher=whose)
    return run
