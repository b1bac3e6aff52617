"""manage_hyperpod.py as a user calls it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.calling import SKILLS, Answer, call

PROGRAM = SKILLS / "hyperpod-manager" / "src" / "manage_hyperpod.py"
NOBODY = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
"""No profile and no instance of this machine."""


@dataclass
class Manager:
    env: dict[str, str] = field(default_factory=dict)
    kubeconfig: Path | None = None

    def __call__(self, *words: object, env: Mapping[str, str] | None = None, timeout_s: float = 60) -> Answer:
        kube = {"KUBECONFIG": str(self.kubeconfig or "/nonexistent/kubeconfig")}
        done = call(PROGRAM, *words, env={**NOBODY, **kube, **self.env, **(env or {})}, timeout_s=timeout_s)
        assert "Traceback" not in done.stderr, done.stderr
        return done
