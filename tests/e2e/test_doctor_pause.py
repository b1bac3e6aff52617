"""The doctor on runs of this machine that pause: an evaluation of one rank is no fault, and a stopped rank is one, whatever it prints."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calling import SKILLS, call
from tests.e2e.killing.launchers import RUNNER, Job, local
from tests.e2e.killing.trial import until

DOCTOR = SKILLS / "monitor" / "src" / "diagnose_training.py"
PAUSE_S = 40.0
OURS = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import slow_loop, torch.distributed as dist
def evaluate(loss, step):
    if step == 20 and dist.get_rank() == 0:
        print("evaluating", flush=True)
        end = time.monotonic() + {PAUSE_S}
        while time.monotonic() < end:
            time.sleep(0.01)
    return loss
slow_loop.train(40, 0.05, evaluate)
"""
THEIRS = """
import time, torch, torch.distributed as dist
dist.init_process_group("gloo")
for step in range(4000):
    dist.all_reduce(torch.ones(1))
    if dist.get_rank() == 0:
        print("step", step, "loss", 4.0 / (step + 1), flush=True)
    time.sleep(0.05)
"""


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[list[Job]]:
    made: list[Job] = []
    yield made
    for job in made:
        subprocess.run([sys.executable, str(RUNNER), "stop", str(job.run_dir), "--now"], capture_output=True, timeout=120)


def started(jobs: list[Job], folder: Path, text: str) -> Job:
    script = folder / "train.py"
    script.write_text(text)
    job = Job(folder, secrets.token_hex(8), script, (), 2, {"TMPDIR": str(folder)})
    for words, env in local(job, "torchrun"):
        subprocess.run(words, env=env, check=True, stdout=subprocess.DEVNULL, timeout=300)
    jobs.append(job)
    return job


def root(job: Job) -> dict[str, Any]:
    found = call(DOCTOR, "doctor", job.run_dir).data["root"]
    assert isinstance(found, dict)
    return found


def log(job: Job) -> str:
    path = job.run_dir / "logs" / "attempt-0000.log"
    return path.read_text(errors="replace") if path.exists() else ""


def test_an_evaluation_of_one_rank_is_no_fault(jobs: list[Job], tmp_path: Path) -> None:
    """All others wait in a collective that it has not come to: their stacks and flight recorders show just that."""
    job = started(jobs, tmp_path, OURS)
    until(lambda: "evaluating" in log(job), "the evaluation did not begin")
    said, deadline = [], time.monotonic() + PAUSE_S - 8
    while time.monotonic() < deadline:
        time.sleep(5)
        said.append(root(job)["cause"])
    assert "unknown" in said and set(said) <= {"none", "unknown"}, said


def test_a_stopped_rank_of_a_script_that_tells_no_time_is_found(jobs: list[Job], tmp_path: Path) -> None:
    job = started(jobs, tmp_path, THEIRS)
    until(lambda: "step 20" in log(job), "no step 20")
    assert root(job)["cause"] == "none"
    status = json.loads(subprocess.run([sys.executable, str(RUNNER), "status", str(job.run_dir)], capture_output=True).stdout)
    (pid,) = (each["pid"] for each in status["data"]["ranks"] if each["rank"] == 1)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(13)  # longer than a pause is taken for a step
    found = root(job)
    assert (found["cause"], found["rank"], found["restart"]) == ("rank-stopped", 1, "RESTART"), found
