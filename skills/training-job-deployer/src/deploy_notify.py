"""`notify` of a job file: the monitor's watch beside ours, which calls whoever is named there. Nothing of it ends or delays a run."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from typing import Any

import trainyard_shell as shell
from deploy_siblings import options, script
from deploy_stage import MONITOR
from trainyard_job import Notify

INTERVAL_S = 10.0
LAST_WORDS_S = 45.0
"""For a delivery that is under way when the run ends: the monitor's own deadline for one is 30 s."""


class Calling:
    """While the block lasts. After `ended` the monitor may finish what it is about; otherwise it goes with the block."""

    def __init__(self, notify: Notify | None, run: list[str], deadline: float) -> None:
        self._words = words_of(notify, run, deadline) if notify else []
        self._process: subprocess.Popen[bytes] | None = None
        self._ended = False

    def __enter__(self) -> Calling:
        if not self._words:
            return self
        try:
            # A process group of its own, as for every sibling: Ctrl-C reaches us alone.
            self._process = subprocess.Popen(
                [sys.executable, str(script(*MONITOR)), *self._words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,
            )
        except (OSError, ValueError, shell.SkillError) as error:
            shell.progress(f"no notifications will be sent (notify): {error}")
        return self

    def ended(self) -> None:
        self._ended = True

    def __exit__(self, *_: Any) -> None:
        process = self._process
        if process is None:
            return
        if self._ended:
            _wait(process, LAST_WORDS_S)
        elif process.poll() not in (None, shell.EXIT_CODES["timeout"]):
            shell.progress(f"notifications stopped (notify): the monitor ended with {process.returncode}")
        if process.poll() is None:
            process.terminate()
            _wait(process, 5.0)
        if process.poll() is None:
            process.kill()
            process.wait()


def words_of(notify: Notify, run: list[str], deadline: float) -> list[str]:
    """[] where nobody is named."""
    if notify.command is None and notify.webhook is None:
        return []
    left_s = max(1.0, deadline - time.monotonic()) + INTERVAL_S
    command = shlex.join(notify.command) if notify.command else None
    own = options(alert_command=command, webhook=notify.webhook, min_goodput=notify.min_goodput)
    return ["watch", *run, "--json", "--interval", f"{INTERVAL_S:g}", "--timeout-s", f"{left_s:.1f}", *own]


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    try:
        process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return
