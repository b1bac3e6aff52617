"""Hangs of a local run: what is looked at, what is written down, and the reason for which an attempt is ended.

The rule is hang_rule.py's. Standard library only.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Mapping
from typing import Any

from hang_evidence import Evidence
from hang_rule import Seen, Verdict, Watch, interval_s
from hang_stacks import collect
from local_folder import RunFolder
from local_process import send
from trainyard_process import identify
from local_progress import Progress
from local_record import RunRecord, note
from local_spec import Spec

REMEMBERED = 1.25
"""The longest pause is written down again once it has grown by this factor: not at each step."""


class Hangs:
    """Of one run; `attempt` begins a new one."""

    def __init__(self, folder: RunFolder, spec: Spec, record: RunRecord, environ: Mapping[str, str]) -> None:
        self._folder, self._spec, self._record, self._environ = folder, spec, record, environ
        self._watch = Watch(spec.hang_after_s, record.longest_pause_s)
        self._every_s = interval_s(spec.hang_after_s)
        self._evidence: Evidence | None = None
        self._progress: Progress | None = None
        self._next_look, self._said = 0.0, Verdict("works")
        self.reason: str | None = None
        """Why this attempt is ended; None while it is not."""

    def begin(self, launcher_pid: int) -> None:
        """An attempt."""
        self._watch.begin(_now_s())
        self._evidence = Evidence(launcher_pid)
        self._progress = Progress(self._folder.path, self._environ, self._spec.hang_after_s)
        self._next_look, self._said, self.reason = 0.0, Verdict("works"), None

    def end(self) -> None:
        """The attempt is over, however it ended."""
        if self._progress is not None:
            self._progress.close()
        self._evidence = self._progress = None
        self._remember(always=True)

    def found(self) -> bool:
        """Look, when it is time to; whether this attempt is to be ended."""
        now_s = _now_s()
        if self._evidence is None or self._progress is None or now_s < self._next_look:
            return False
        self._next_look = now_s + self._every_s
        try:
            document = self._evidence.look(now_s)
        except OSError as error:
            note(f"processes cannot be looked at: {error}")
            return False
        seen = Seen.of(document)
        verdict = self._watch.look(now_s, seen, self._progress.look(now_s, document["output"]))
        self._remember()
        self._act(verdict, self._evidence.ranks)
        if self.reason is not None:
            _kill_stopped(seen)
        return self.reason is not None

    def _act(self, verdict: Verdict, ranks: Mapping[int, int]) -> None:
        before, self._said = self._said, verdict
        if verdict.name == before.name:
            return  # said already
        if verdict.name == "works":
            self._record.event("goes-on", attempt=self._record["attempt"], after=before.name)
            self._record.save(reason=None)
        elif verdict.name == "paused":
            self._tell("paused", f"paused by somebody: {verdict.reason}; nothing is done about it", ranks)
        elif self._spec.hang == "report":
            self._tell("hang", f"hang: {verdict.reason}; only reported, as monitor.hang says", ranks, action="report")
        else:
            self.reason = f"hang: {verdict.reason}"
            self._tell("hang", self.reason, ranks, action="restart", stacks=self._stacks(ranks))

    def _tell(self, type: str, reason: str, ranks: Mapping[int, int], **more: Any) -> None:
        pids = {str(rank): pid for rank, pid in sorted(ranks.items())}
        self._record.event(type, attempt=self._record["attempt"], reason=reason, pids=pids, **more)
        self._record.save(reason=reason)

    def _stacks(self, ranks: Mapping[int, int]) -> str | None:
        """Name of the file in the run folder; None where it cannot be written."""
        file = self._folder.log(self._record["attempt"]).with_suffix(".stacks.txt")
        try:
            text = collect(ranks, self._spec.python, ask=True, run_dir=self._folder.path)
            file.write_text(text, encoding="utf-8", errors="replace")
        except OSError as error:
            note(f"stacks not written: {error}")
            return None
        return str(file.relative_to(self._folder.path))

    def _remember(self, *, always: bool = False) -> None:
        longest_s, known_s = self._watch.longest_pause_s, self._record.longest_pause_s
        if longest_s > known_s * (1 if always else REMEMBERED) + (0 if always else 30):
            self._record.save(longest_pause_s=round(longest_s, 1))


def _kill_stopped(seen: Seen) -> None:
    """No other signal reaches them, and torchrun would wait half a minute for them."""
    for rank in seen.ranks:
        if rank.state == "stopped" and rank.pid is not None and (process := identify(rank.pid)) is not None:
            with contextlib.suppress(OSError):
                send(process, signal.SIGKILL)


def _now_s() -> float:
    """Goes on while the machine is suspended: the gap shows."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
