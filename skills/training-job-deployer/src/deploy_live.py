"""The monitor's live view beside a watch on a terminal: its program draws, this one decides."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import deploy_siblings
import trainyard_shell as shell
from deploy_stage import MONITOR

if TYPE_CHECKING:
    from deploy_place import Place
    from run_state.record import Run

SHOW_CURSOR = "\x1b[?25h"
"""The view hides it, and is ended before it could show it again."""


class LiveView:
    """Nothing where nobody looks: without a terminal, with --json, or where the monitor cannot be started."""

    def __init__(self, place: Place, run: Run) -> None:
        self._words = ["watch", *place.as_monitored(run), "--stall-factor", f"{run.monitor('stall_factor'):g}"]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LiveView:
        if not (sys.stderr.isatty() and shell.wants_table(sys.argv[1:])):
            return self
        try:
            command = [sys.executable, str(deploy_siblings.script(*MONITOR)), *self._words, "--format", "table"]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr.fileno(),
                stderr=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C reaches us alone
            )
        except (OSError, shell.SkillError):
            self._process = None  # lines do as well
        return self

    @property
    def draws(self) -> bool:
        """False once it has ended, for whatever reason: then the lines of progress go on."""
        return self._process is not None and self._process.poll() is None

    def __exit__(self, *_: object) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        sys.stderr.write(f"{SHOW_CURSOR}\r\n")
        sys.stderr.flush()
