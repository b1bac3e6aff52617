"""A run that an earlier version started and stopped: run.json of format 1, runner.json, checkpoints. This version reads it and goes on.

`old_run/run` was written by commit 471ed46; paths of the machine that wrote it are replaced.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.recorded.recorder import HERE, ROOT

OLD = HERE / "old_run"
DEPLOY = ROOT / "skills" / "training-job-deployer" / "src" / "deploy.py"
RUN_ID, STOPPED_AT, STEPS = "cbe7a43c5af16fed", 16, 30


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with its run folder, moved to this place."""
    for name in ("train.py", "job.yaml"):
        shutil.copy(OLD / name, tmp_path)
    shutil.copytree(OLD / "run", tmp_path / ".trainyard" / "runs" / "old")
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


def deploy(project: Path, verb: str, *words: str) -> dict[str, Any]:
    command = [sys.executable, str(DEPLOY), verb, "job.yaml", *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout)["data"])


def test_it_is_looked_at_and_goes_on_from_its_checkpoint(project: Path) -> None:
    status = deploy(project, "status")
    assert (status["state"], status["run_id"], status["progress"]["step"]) == ("stopped", RUN_ID, STOPPED_AT)
    ended = deploy(project, "resume", "--timeout", "200")
    assert (ended["state"], ended["run_id"], ended["step"]) == ("finished", RUN_ID, STEPS)
    events = [json.loads(line) for line in (project / ".trainyard/runs/old/events.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["type"] == "restored"] == [0, STOPPED_AT]
    deploy(project, "report")
    assert (project / ".trainyard/runs/old/report.html").is_file()
