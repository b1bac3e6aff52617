"""Calls of manage_hyperpod.py, to the end or to a kill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.calling import SKILLS, Answer, call
from tests.components.aws import hyperpod
from tests.components.aws.running import Aws

PROGRAM = SKILLS / "hyperpod-manager" / "src" / "manage_hyperpod.py"


class Program:
    def __init__(self, aws: Aws, state: Path) -> None:
        self.aws, self.state = aws, state
        self.env = {**aws.environment, "XDG_STATE_HOME": str(state), "KUBECONFIG": "/nonexistent"}

    def __call__(self, *words: object) -> Answer:
        return call(PROGRAM, *words, env=self.env)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """A process of its own, to be killed. Its progress is in `stderr`."""
        command = [sys.executable, str(PROGRAM), *map(str, words)]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env={**os.environ, **self.env}, stdout=pipe, stderr=pipe, text=True)

    def sent(self, operation: str) -> list[dict[str, Any]]:
        """Calls that AWS was asked, refused ones too."""
        return [each for each in self.aws.actions() if each["action"] == f"sagemaker:{operation}"]

    def journal(self) -> list[dict[str, Any]]:
        files = list((self.state / "trainyard" / "hyperpod").glob("*.json"))
        return [request for file in files for request in json.loads(file.read_text())["requests"]]

    def slurm(self, name: str = "trainyard", count: int = 2, **options: Any) -> list[str]:
        """Instance ids of a cluster on which Kubernetes has no say."""
        hyperpod.make(self.aws, name, {"workers": count}, slurm=True, **{"continuous": False, **options})
        return hyperpod.ids(self.aws, name)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=10)


def by_name(nodes: list[str], *, forced: bool = True) -> list[str]:
    """The options that name these nodes, and repeat their names."""
    return [word for id in nodes for word in ("--node", id, *(("--force-node", id) if forced else ()))]
