"""The program as its users call it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).resolve().parents[3] / "skills" / "cluster-manager" / "src" / "manage_cluster.py"


@dataclass(frozen=True)
class Answered:
    """One finished call of the program."""

    code: int
    document: dict[str, Any]
    stderr: str

    @property
    def data(self) -> dict[str, Any]:
        return self.document["data"]

    def check(self, id: str) -> dict[str, Any]:
        return next(check for check in self.document["checks"] if check["id"] == id)


Manage = Callable[..., Answered]


def manage_with(kubeconfig: Path | None, **env: str) -> Manage:
    """The program with this kubeconfig; None: one that does not exist."""

    def manage(*words: str) -> Answered:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        environment |= {"KUBECONFIG": str(kubeconfig or "/nonexistent/kubeconfig"), **env}
        command = [sys.executable, str(PROGRAM), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert "Traceback" not in done.stderr, done.stderr
        return Answered(done.returncode, json.loads(done.stdout), done.stderr)

    return manage
