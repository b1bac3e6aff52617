"""`run` on a terminal draws the monitor's live view; anywhere else it prints lines."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deployer_calls import DEPLOY, Project

SCRIPT = """
import json, os, time
folder = os.environ["TRAINYARD_RUN_DIR"]
for step in range(1, 61):
    line = {"step": step, "time": time.time(), "incarnation": 1, "loss": 4.0 / step, "step_s": 0.1, "blocked_s": 0.0}
    with open(folder + "/steps.jsonl", "a") as steps:
        steps.write(json.dumps(line) + "\\n")
    time.sleep(0.1)
"""


@pytest.fixture
def live(project: Project) -> Project:
    (project.folder / "src" / "train.py").write_text(SCRIPT)
    project.write_job("python train.py")
    return project


def on_a_terminal(project: Project, *words: str, program: Path = DEPLOY) -> tuple[int, str]:
    """Exit code and everything that a terminal of 80 columns was sent."""
    parent, child = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = [sys.executable, str(program), *words, str(project.job)]
    process = subprocess.Popen(command, stdin=child, stdout=child, stderr=child, env=env, cwd=project.folder)
    os.close(child)
    text, deadline = b"", time.monotonic() + 90
    while time.monotonic() < deadline:
        if not select.select([parent], [], [], 0.2)[0]:
            if process.poll() is not None:
                break
            continue
        try:
            text += os.read(parent, 65536)
        except OSError:
            break
    os.close(parent)
    return process.wait(timeout=30), text.decode(errors="replace")


def test_on_a_terminal_a_panel_is_drawn_and_the_answer_stands_below_it(live: Project) -> None:
    code, text = on_a_terminal(live, "run")
    assert code == 0, text
    panel, shown, answer = text.rpartition("\x1b[?25h")
    assert shown and "╭" in panel and "toy: running" in panel and "loss, last" in panel
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", answer)
    assert "finished" in plain and "report.html" in plain and "╭" not in plain
    assert not re.search(r"running: step \d+", panel), "the lines that a view replaces"


def test_without_one_there_are_lines(live: Project) -> None:
    done = subprocess.run(
        [sys.executable, str(DEPLOY), "run", str(live.job)], capture_output=True, text=True, timeout=90, cwd=live.folder
    )
    assert done.returncode == 0 and json.loads(done.stdout)["ok"]
    assert "running: step" in done.stderr and "╭" not in done.stderr


def test_a_view_that_cannot_be_started_leaves_the_lines(live: Project, tmp_path: Path) -> None:
    """The skill monitor, without the package that draws: the run goes on, and so does what is said of it."""
    skills = tmp_path / "skills"
    for name in ("training-job-deployer", "local-runner", "monitor"):
        shutil.copytree(DEPLOY.parents[2] / name, skills / name, ignore=shutil.ignore_patterns("__pycache__"))
    (skills / "monitor" / "src" / "run_view" / "watch.py").write_text("raise ImportError('no rich here')\n")
    code, text = on_a_terminal(live, "run", program=skills / "training-job-deployer" / "src" / "deploy.py")
    assert code == 0 and "finished" in text and "╭" not in text, text
