"""Which step the job is at, for the judgement of hangs: steps.jsonl where the trainer writes it, else the monitor is asked.

The monitor knows the formats of logs; it is asked as a program (`monitor_training.py progress`), seldom, only after the job has
printed something, and never waited for. Without it a hang is judged by output alone. Standard library only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hang_rule import Steps
from local_record import note

MONITOR = Path(__file__).resolve().parents[2] / "monitor" / "src" / "monitor_training.py"
ASK_EVERY_S = 30.0
ANSWER_WITHIN_S = 60.0
ANSWER_BYTES = 64 * 1024
ENOUGH_ROWS = 3
"""Fewer lines that look like steps may be something else, a printed configuration for example."""


class Progress:
    """Of one attempt."""

    def __init__(self, run_dir: Path, environ: Mapping[str, str], hang_after_s: float | None) -> None:
        self._run_dir, self._environ = run_dir, environ
        self._every_s = ASK_EVERY_S if hang_after_s is None else min(ASK_EVERY_S, max(1.0, hang_after_s / 4))
        self._steps_before = self._steps_file()
        self._question: subprocess.Popen[bytes] | None = None
        self._answer = b""
        self._asked_at, self._asked_about = float("-inf"), 0
        self._marker: object = None
        self._until_s = float("-inf")
        self._silenced = not MONITOR.is_file()
        if self._silenced:
            note("the monitor skill is not beside this one: a hang is judged by output, unless steps.jsonl is written")

    def look(self, now_s: float, output: int) -> Steps:
        """`output`: another number once the job has printed something."""
        if (written := self._steps_file()) != self._steps_before:
            return Steps(written)
        if self._question is not None:
            self._collect(now_s)
        elif not self._silenced and output != self._asked_about and now_s - self._asked_at >= self._every_s:
            self._ask(now_s, output)
        return Steps(self._marker, self._until_s)

    def close(self) -> None:
        if self._question is not None and self._question.stdout is not None:
            self._question.kill()
            self._question.stdout.close()
            self._question = None

    def _steps_file(self) -> tuple[int, int] | None:
        try:
            found = (self._run_dir / "steps.jsonl").stat()
        except OSError:
            return None
        return found.st_size, found.st_mtime_ns

    def _ask(self, now_s: float, output: int) -> None:
        self._asked_at, self._asked_about, self._answer = now_s, output, b""
        words = [sys.executable, "-E", "-s", str(MONITOR), "progress", str(self._run_dir), "--json"]
        nowhere, environ = subprocess.DEVNULL, dict(self._environ)
        try:
            self._question = subprocess.Popen(
                words, env=environ, stdin=nowhere, stdout=subprocess.PIPE, stderr=nowhere, start_new_session=True
            )
        except OSError as error:
            return self._give_up(f"it could not be started: {error}")
        assert self._question.stdout is not None
        os.set_blocking(self._question.stdout.fileno(), False)

    def _collect(self, now_s: float) -> None:
        """The answer, if it is complete."""
        assert self._question is not None and self._question.stdout is not None
        complete = False
        try:
            while not complete and len(self._answer) <= ANSWER_BYTES:
                part = os.read(self._question.stdout.fileno(), ANSWER_BYTES)
                self._answer, complete = self._answer + part, not part
        except BlockingIOError:
            if now_s - self._asked_at < ANSWER_WITHIN_S:
                return  # it still works
        self.close()
        try:
            data: Any = json.loads(self._answer)["data"] if complete else {}
            rows, marker = int(data["rows"]), data["marker"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return self._give_up(f"it answered {self._answer[:200]!r}" if complete else "no answer within its time")
        self._until_s = self._asked_at
        if rows >= ENOUGH_ROWS or self._marker is not None:
            self._marker = marker or self._marker

    def _give_up(self, why: str) -> None:
        self._silenced, self._marker = True, None
        note(f"the monitor does not say which step the run is at ({why}): a hang is judged by output")
