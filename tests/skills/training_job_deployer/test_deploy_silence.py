"""The monitor that watches a run for the deployer hangs: the run's end is told all the same."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from deployer_calls import DEPLOY, Project, end, wait_for


def monitor_of(pid: int) -> int | None:
    """Pid of the monitor that this deployer has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    told = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children if Path(f"/proc/{child}").exists()}
    return next((child for child, words in told.items() if b"\0watch\0" in words), None)


def test_a_monitor_that_hangs(project: Project, tmp_path: Path) -> None:
    """Stopped in mid-watch. What waits minutes for it waits a second here, in a copy of the skills."""
    for name in ("training-job-deployer", "local-runner", "monitor"):
        shutil.copytree(DEPLOY.parents[2] / name, tmp_path / "skills" / name, ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "skills" / "training-job-deployer" / "src"
    local = source / "places" / "local.py"
    local.write_text(local.read_text().replace("SILENT_S = LOOK_INTERVAL_S + 120.0", "SILENT_S = 3.0"))
    place = source / "deploy_place.py"
    place.write_text(place.read_text().replace("LOOK_INTERVAL_S = 10.0", "LOOK_INTERVAL_S = 0.5"))
    assert "SILENT_S = 3.0" in local.read_text() and "LOOK_INTERVAL_S = 0.5" in place.read_text()
    project.write_job("python train.py --steps 3 --until-told")
    words = [sys.executable, source / "deploy.py", "run", project.job]
    deployer = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        wait_for(lambda: project.starts() and monitor_of(deployer.pid), "the monitor")
        monitor = monitor_of(deployer.pid)
        assert monitor is not None
        os.kill(monitor, signal.SIGSTOP)
        project.let_it_end()
        assert deployer.wait(timeout=60) == 0
        assert not Path(f"/proc/{monitor}").exists(), "it is ended, not left behind"
    finally:
        end(deployer)
