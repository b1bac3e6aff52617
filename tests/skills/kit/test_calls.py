"""Next commands as the user can type them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calling import SKILLS

ROOT = SKILLS.parent
COMMAND = ROOT / "install" / "trainyard"
RUN = SKILLS / "monitor" / "assets" / "example-run"
LINES = {
    "manage_checkpoints.py latest RUN": "trainyard checkpoints latest RUN",
    "python skills/training-job-deployer/src/deploy.py resume job.yaml": "trainyard resume job.yaml",
    "python3 ../x/deploy.py why 'a b'   (look first)": "trainyard why 'a b'   (look first)",
    "test_image.py run IMAGE; then push_image.py push IMAGE": "trainyard images test IMAGE; then trainyard images push IMAGE",
    "read the log, then `diagnose_training.py doctor RUN`": "read the log, then `trainyard monitor doctor RUN`",
    "python train.py and my_deploy.py stay": "python train.py and my_deploy.py stay",
    "smoke_test.py run X": "smoke_test.py run X",
}


def as_typed(line: str, command: str, cwd: Path) -> str:
    words = "import sys; sys.path.insert(0, sys.argv[1]); import trainyard_calls; print(trainyard_calls.as_typed(sys.argv[2]))"
    env = {**os.environ, "TRAINYARD_COMMAND": command}
    source = SKILLS / "monitor" / "src"
    done = subprocess.run(
        [sys.executable, "-c", words, source, line], capture_output=True, text=True, env=env, cwd=cwd, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


@pytest.mark.parametrize("line", LINES)
def test_by_the_command(line: str, tmp_path: Path) -> None:
    assert as_typed(line, "trainyard", tmp_path) == LINES[line]


def test_by_a_path_it_runs_as_printed(tmp_path: Path) -> None:
    line = as_typed(f"monitor_training.py status {RUN} --json", "", tmp_path)
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        env={**os.environ, "TRAINYARD_PYTHON": sys.executable},
    )
    assert done.returncode == 0 and json.loads(done.stdout)["ok"], done.stderr
    assert as_typed("python a/deploy.py plan x", "", tmp_path) == "python a/deploy.py plan x", "it has its path already"


def test_its_words_are_those_of_the_command() -> None:
    source = COMMAND.read_text()
    words = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import trainyard_calls; print(json.dumps(trainyard_calls.WORDS))"
    )
    kit = SKILLS / "monitor" / "src"
    told = subprocess.run([sys.executable, "-c", words, kit], capture_output=True, text=True, check=True, timeout=60).stdout
    calls: dict[str, str] = json.loads(told)
    for name, words in calls.items():
        assert name.partition(" ")[0] in source and all(f'"{word}"' in source for word in words.split()), name


def test_a_program_called_by_the_command_speaks_of_it() -> None:
    env = {**os.environ, "TRAINYARD_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, COMMAND, "monitor", "no-such-verb"], capture_output=True, text=True, env=env, timeout=60
    )
    assert json.loads(done.stdout)["error"]["hint"] == "trainyard monitor --help"
    told = subprocess.run(
        [sys.executable, COMMAND, "resume", "--help"], capture_output=True, text=True, env=env, timeout=60
    ).stdout
    assert told.startswith("Usage: trainyard resume") and "trainyard resume job.yaml --from-step 400" in told
