"""The program as its users call it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.calling import SKILLS, Answer, answer_of
from tests.training.forking import skill_run

__all__ = ["Answer"]
PROGRAM = SKILLS / "cluster-manager" / "src" / "manage_cluster.py"


Manage = Callable[..., Answer]


def manage_with(kubeconfig: Path | None, **env: str) -> Manage:
    """The program with this kubeconfig; None: one that does not exist."""

    def manage(*words: str) -> Answer:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
        environment |= {"KUBECONFIG": str(kubeconfig or "/nonexistent/kubeconfig"), **env}
        command = [sys.executable, str(PROGRAM), *words]
        done = skill_run(command, timeout=120, env=environment)
        assert "Traceback" not in done.stderr, done.stderr
        return answer_of(done.returncode, done.stdout, done.stderr)

    return manage
