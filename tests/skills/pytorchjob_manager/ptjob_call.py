"""The program as its users call it, in one namespace of a cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.calling import SKILLS, Answer, answer_of
from tests.training.forking import SkillPopen

__all__ = ["Answer"]
PROGRAM = SKILLS / "pytorchjob-manager" / "src" / "manage_pytorchjob.py"
RUN, OTHER_RUN = "0123456789abcdef", "fedcba9876543210"
OURS = ("--run-id", RUN)
"""What the verbs that change a job must be told."""
KWOK = ("--node-selector", "type=kwok", "--toleration", '{"key": "kwok", "operator": "Exists"}')
NOWHERE = ("--node-selector", "type=nowhere")
"""Pods that stay pending."""
REAL = ("--node-selector", "type=real", "--cpu", "50m", "--grace-s", "1")
PYTHON = "local.test/python:3.11"
TRAIN = ("--", "torchrun", "train.py", "--steps", "4")


@dataclass(frozen=True)
class Manager:
    """manage_pytorchjob.py with one kubeconfig and namespace."""

    kubeconfig: Path
    namespace: str

    def environment(self) -> dict[str, str]:
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def command(self, verb: str, *words: str) -> list[str]:
        return [sys.executable, str(PROGRAM), verb, "-n", self.namespace, *words]

    def start(self, verb: str, *words: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return SkillPopen(self.command(verb, *words), stdout=pipe, stderr=pipe, text=True, env=self.environment())

    def __call__(self, verb: str, *words: str) -> Answer:
        return self.answer(self.start(verb, *words))

    def answer(self, process: subprocess.Popen[str], timeout_s: float = 120) -> Answer:
        """Of a call that was started. No call may end in a bug of ours."""
        stdout, stderr = process.communicate(timeout=timeout_s)
        assert "Traceback" not in stderr and process.returncode in range(9), stderr + stdout
        return answer_of(process.returncode, stdout, stderr, streams=True)

    def create(self, name: str, *words: str, run_id: str = RUN, command: tuple[str, ...] = TRAIN) -> Answer:
        image = () if "--image" in words else ("--image", "any")
        return self("create", name, "--run-id", run_id, *image, *words, *command)

    def until(self, state: str, name: str, timeout_s: float = 60, nodes: int | None = None) -> Answer:
        """The status once it has that state, and that number of running nodes."""
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self("status", name)
            if seen.code == 0 and seen.data["state"] == state and nodes in (None, seen.data["nodes"]["running"]):
                return seen
            assert time.monotonic() < deadline, seen
            time.sleep(1)

    def until_found(self, finding: str, name: str, timeout_s: float = 60) -> Answer:
        deadline = time.monotonic() + timeout_s
        while True:
            seen = self("status", name)
            if any(each["id"] == finding for each in seen.data["findings"]):
                return seen
            assert time.monotonic() < deadline, seen
            time.sleep(1)
