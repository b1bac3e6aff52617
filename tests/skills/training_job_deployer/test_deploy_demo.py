"""The demo's own promises: a rank is really killed, and it does not call a failure a success."""

from __future__ import annotations

import re
import subprocess
import sys
import time

from deployer_calls import DEADLINE_S, ROOT, Project

DEMO = ROOT / "training" / "recipes" / "tiny-lm" / "demo.py"


def demo(project: Project, run: str, *, ends_after_start: int) -> tuple[int, str, str]:
    """Lets the trainer end once it was started that often."""
    project.write_job(run)
    process = subprocess.Popen(
        [sys.executable, DEMO, project.job], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=project.folder
    )
    deadline = time.monotonic() + DEADLINE_S
    while len(project.starts()) < ends_after_start and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    project.let_it_end()
    output, errors = process.communicate(timeout=DEADLINE_S)
    return process.returncode, output, errors


def test_the_demo_kills_a_rank_and_tells_what_came_of_it(project: Project) -> None:
    code, output, errors = demo(project, "python train.py --steps 5 --until-told", ends_after_start=2)
    assert code == 0, output + errors
    # the demo kills from 45 % of the steps on: at step 3, or at step 4, before which the trainer waits
    assert re.search(r"with SIGKILL at step [34];", output), output
    assert "kills survived                   1" in output
    assert str(project.run_dir / "report.html") in output
    assert "def main():" in output


def test_the_demo_fails_when_the_model_did_not_learn(project: Project) -> None:
    code, _, errors = demo(project, "python train.py --steps 5 --until-told --loss 100", ends_after_start=2)
    assert code == 1
    assert "the last loss is 20.00, not below 2.3" in errors


def test_the_demo_fails_when_nobody_was_killed(project: Project) -> None:
    code, _, errors = demo(project, "python train.py --steps 1", ends_after_start=0)
    assert code == 1
    assert "no rank was killed" in errors


def test_the_demo_fails_when_the_job_does(project: Project) -> None:
    code, _, errors = demo(project, "python train.py --steps 100 --fail", ends_after_start=0)
    assert code == 1
    assert "demo failed: the run: job.finished: toy failed" in errors
