"""A project with a stand-in trainer, and deploy.py run on it as a program: real runner, real monitor, real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.calling import Answer, call

__all__ = ["Answer"]
ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "skills" / "training-job-deployer" / "src" / "deploy.py"
TRAINER = Path(__file__).with_name("deployer_stand_in.py")
DEADLINE_S = 60


def deploy(*words: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None, program: Path = DEPLOY) -> Answer:
    """Runs deploy.py to its end; stdout must be one JSON document."""
    return call(program, *words, cwd=cwd, env=env, timeout_s=DEADLINE_S)


@dataclass
class Project:
    """A folder with a job file; `src/train.py` is the stand-in trainer."""

    folder: Path

    @property
    def job(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def run_dir(self) -> Path:
        return self.folder / ".trainyard" / "runs" / "toy"

    def write_job(self, run: str = "python train.py --steps 3", **keys: Any) -> Path:
        # JSON is YAML; python is named, so that no test depends on who calls
        job = {"name": "toy", "source": "src", "run": run, "python": sys.executable, **keys}
        self.job.write_text(json.dumps({key: value for key, value in job.items() if value is not None}))
        return self.job

    def run_json(self) -> dict[str, Any]:
        return json.loads((self.run_dir / "run.json").read_text())

    def starts(self) -> list[str]:
        """One line for each start of the trainer: its run id."""
        path = self.folder / "starts.txt"
        return path.read_text().split() if path.exists() else []

    def let_it_end(self) -> None:
        """A trainer with --until-told ends once this file is there."""
        (self.folder / "end").touch()


def has_ended(run_dir: Path) -> bool:
    runner = run_dir / "runner.json"
    return runner.exists() and json.loads(runner.read_text())["state"] in ("finished", "failed", "stopped")


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that a test started, and its own group."""
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    for pipe in (process.stdout, process.stderr):
        if pipe:
            pipe.close()


def wait_for(ready: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not ready():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.002)


def read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}


def begun(stage: str, *, answered: bool) -> Callable[[Project], bool]:
    def look(project: Project) -> bool:
        record = read(project.run_dir / "run.json").get("stages", {}).get(stage)
        return record is not None and (not answered or record.get("ended") is not None)

    return look
