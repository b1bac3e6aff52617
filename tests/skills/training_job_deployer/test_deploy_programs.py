"""How many programs a run starts: each costs a start of Python, and a watch goes on for weeks."""

from __future__ import annotations

import os
from pathlib import Path

from deployer_calls import DEPLOY, Project, deploy

LISTENER = """
import os, sys
if len(sys.orig_argv) > 2 and sys.orig_argv[1].startswith(os.environ["LISTEN_TO"]):
    with open(os.environ["LISTEN_FILE"], "a") as file:
        print(os.getppid(), os.path.basename(sys.orig_argv[1]), sys.orig_argv[2], file=file)
"""


def test_a_local_run_starts_four(project: Project, tmp_path: Path) -> None:
    """A check, a submission, one process that watches to the end, and a report."""
    project.write_job("python train.py --steps 30")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(LISTENER)
    heard = tmp_path / "heard"
    listening = {"LISTEN_TO": str(DEPLOY.parents[2]), "LISTEN_FILE": str(heard), "PYTHONPATH": str(tmp_path / "site")}
    answer = deploy("run", project.job, env=listening)
    assert (answer.exit_code, answer.data["step"]) == (0, 30)
    first, *lines = heard.read_text().splitlines()
    assert first == f"{os.getpid()} deploy.py run"
    ours = [line.split(maxsplit=1) for line in lines if "run_local.py" in line or "monitor_training.py" in line]
    assert [words for _, words in ours] == [
        "run_local.py submit",
        "run_local.py submit",
        "monitor_training.py watch",
        "monitor_training.py report",
    ]
    assert len({parent for parent, _ in ours}) == 1
