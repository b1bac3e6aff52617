"""Run the monitor as a user does: a process, its stdout, its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from tests.calling import SKILLS
from tests.training.forking import skill_run

SKILL = SKILLS / "monitor"
PROGRAM = SKILL / "src" / "monitor_training.py"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return skill_run([sys.executable, str(PROGRAM), *map(str, words)], timeout=120)


def call(*words: object, code: int = 0) -> dict[str, Any]:
    """The document; the exit code must be `code`."""
    done = run(*words)
    assert done.returncode == code, (done.returncode, done.stdout[-3000:], done.stderr[-3000:])
    document = json.loads(done.stdout)
    assert isinstance(document, dict)
    return document


def statuses(document: dict[str, Any]) -> dict[str, str]:
    return {check["id"]: check["status"] for check in document["checks"]}


def check(document: dict[str, Any], id: str) -> dict[str, Any]:
    return next(check for check in document["checks"] if check["id"] == id)
