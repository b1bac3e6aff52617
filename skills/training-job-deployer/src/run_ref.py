"""A run, as the user named it and as it lies on the disk."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from deploy_siblings import OURSELVES


@dataclass(frozen=True)
class Ref:
    """A run, as the user named it and as it lies on the disk."""

    given: str
    run_dir: Path
    job_path: Path | None
    """The job file, when the user named it."""
    state_dir: str | None = None

    def command(self, verb: str, *more: str) -> str:
        """The line that does `verb` on this run, as the user could type it here."""
        script = min((os.path.relpath(OURSELVES), str(OURSELVES)), key=len)
        options = ["--state-dir", self.state_dir] if self.state_dir else []
        return shlex.join(["python", script, verb, self.given, *options, *more])
