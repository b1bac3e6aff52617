"""deploy.py among stand-in managers: a copied skills folder, a job file for eks, and what the managers saw."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from deployer_calls import ROOT, Answer, deploy, end

STAND_IN = Path(__file__).with_name("deployer_stand_in_cluster.py")
PROGRAMS = {
    "cluster-manager": ["manage_cluster.py"],
    "pytorchjob-manager": ["manage_pytorchjob.py"],
    "ray-manager": ["manage_ray.py"],
    "checkpoint-manager": ["manage_volumes.py", "pod_checkpoints.py"],
}
DIGEST = "sha256:" + "0" * 64


@dataclass
class ClusterProject:
    """A folder with a job file for eks, and a skills folder whose managers are stand-ins."""

    folder: Path

    @property
    def job(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def run_dir(self) -> Path:
        return self.folder / ".trainyard" / "runs" / "toy"

    @property
    def program(self) -> Path:
        return self.folder / "skills" / "training-job-deployer" / "src" / "deploy.py"

    @property
    def stand_in(self) -> Path:
        return self.folder / "stand-in"

    @property
    def environment(self) -> dict[str, str]:
        return {"STAND_IN": str(self.stand_in), "STAND_IN_KIT": str(ROOT / "skills" / "kit")}

    def write_job(self, **keys: Any) -> Path:
        job = {
            "name": "toy",
            "target": "eks",
            "run": "torchrun train.py --steps 3",
            "nodes": 2,
            "image": {"uri": f"repo@{DIGEST}"},
            "cluster": {"context": "test", "namespace": "ml"},
            "checkpoints": {"storage": {"class": "fsx", "size": "500Gi"}},
            **keys,
        }
        self.job.write_text(json.dumps({key: value for key, value in job.items() if value is not None}))
        return self.job

    def deploy(self, verb: str, *words: str) -> Answer:
        return deploy(verb, self.job, *words, env=self.environment, program=self.program)

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """`deploy.py run --yes` in the background."""
        command = [sys.executable, str(self.program), "run", str(self.job), "--yes", *words]
        environment = {**os.environ, **self.environment}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        try:
            yield process
        finally:
            end(process)

    def say(self, **files: Any) -> None:
        """What the stand-ins answer from now on: answers=, findings=, log=, state=."""
        for name, content in files.items():
            path = self.stand_in / (name if name == "state" else f"{name}.json")
            fresh = path.with_suffix(".fresh")
            fresh.write_text(content if name == "state" else json.dumps(content))
            fresh.replace(path)

    def made(self) -> dict[str, Any]:
        path = self.stand_in / "made.json"
        return json.loads(path.read_text()) if path.exists() else {"jobs": {}, "claims": {}, "starts": []}

    def calls(self, verb: str | None = None) -> list[list[str]]:
        path = self.stand_in / "calls.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if verb in (None, line[1])]

    def run_json(self) -> dict[str, Any]:
        return json.loads((self.run_dir / "run.json").read_text())


def make_project(folder: Path) -> ClusterProject:
    ignored = shutil.ignore_patterns("__pycache__", ".mypy_cache")
    for name in ("training-job-deployer", "monitor", "local-runner"):
        shutil.copytree(ROOT / "skills" / name, folder / "skills" / name, ignore=ignored)
    for skill, scripts in PROGRAMS.items():
        (folder / "skills" / skill / "src").mkdir(parents=True)
        for script in scripts:
            shutil.copy(STAND_IN, folder / "skills" / skill / "src" / script)
    project = ClusterProject(folder)
    project.stand_in.mkdir()
    project.write_job()
    return project


def values(words: list[str], option: str) -> list[str]:
    """What stands behind each `--option` of a call."""
    return [value for name, value in pairwise(words) if name == f"--{option}"]
