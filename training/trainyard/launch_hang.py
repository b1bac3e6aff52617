"""Hangs of a job of several nodes: every node looks at its own ranks and says what it sees; the coordinator judges all together.

A node alone cannot: its ranks may wait for one of another node that evaluates, saves, or was stopped by somebody. The rule and
its limits: hang_rule.py. Standard library only, as all of launch*.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainyard.hang_evidence import Evidence
from trainyard.hang_rule import Seen, Steps, Verdict, Watch, interval_s
from trainyard.hang_stacks import collect
from trainyard.launch_record import Record, say

ROW = re.compile(r"(\d{1,9})?:(\d{1,9})?:([lstg])(w?)", re.ASCII)
STATES = {"l": "lives", "s": "stopped", "t": "traced", "g": "gone"}
MAX_RANKS = 200
"""Of one node: more do not fit into one message."""
MORE_S = 30.0
"""The longest pause is written down again once it has grown by so much and a quarter."""


def now_s() -> float:
    """Goes on while the machine is suspended: the gap shows."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Looks:
    """Of one node, at the ranks below its launcher."""

    def __init__(self, hang_after_s: float | None, run_dir: Path | None = None) -> None:
        self._every_s, self._next, self._run_dir = interval_s(hang_after_s), 0.0, run_dir
        self._evidence: Evidence | None = None
        self._pid: int | None = None

    def look(self, pid: int | None) -> dict[str, Any] | None:
        """The fields of the message; None while it is not time for one. `pid`: of torchrun, None where none runs."""
        now = now_s()
        if pid != self._pid:
            self._pid, self._evidence, self._next = pid, Evidence(pid) if pid is not None else None, 0.0
        if self._evidence is None or now < self._next:
            return None
        self._next = now + self._every_s
        try:
            found = self._evidence.look(now)
        except OSError:
            return None  # nothing is judged without it
        if len(found["ranks"]) > MAX_RANKS:
            return None
        rows = [f"{_text(rank)}:{_text(pid)}:{state[0]}{'w' * waits}" for rank, pid, state, waits in found["ranks"]]
        return {"ranks": " ".join(rows), "output": found["output"], "busy": found["busy"][:80], "sign": found["sign"][:80]}

    def say_stacks(self) -> None:
        """To the log, before the ranks end."""
        if self._evidence is not None and self._evidence.ranks:
            text = collect(self._evidence.ranks, sys.executable, ask=True, run_dir=self._run_dir)
            say(f"stacks of the ranks of this node, before they are ended:\n{text}")


def _text(number: int | None) -> str:
    return "" if number is None else str(number)


def seen_of(message: Mapping[str, Any]) -> Seen:
    """From `Looks.look`. Raises ValueError."""
    words = str(message["ranks"]).split()
    found = [row for word in words if (row := ROW.fullmatch(word))]
    if len(found) != len(words):
        raise ValueError("ranks in another shape")
    rows = [[row[1], row[2], STATES[row[3]], row[4] == "w"] for row in found]
    return Seen.of({**message, "ranks": rows})


class Hangs:
    """Of the coordinator."""

    def __init__(self, record: Record, hang: str, hang_after_s: float | None) -> None:
        self._record, self._hang = record, hang
        self._watch = Watch(hang_after_s, record.longest_pause_s)
        self._steps = record.folder / "steps.jsonl" if record.folder else None
        self.begin()

    def begin(self) -> None:
        """An attempt."""
        self._seen: dict[int, Seen] = {}
        self._new: set[int] = set()
        self._before = _size(self._steps)
        self._said = Verdict("works")
        self._watch.begin(now_s())

    def take(self, node: int, message: Mapping[str, Any]) -> None:
        """What a node sees. What has another shape is as if it had not been said."""
        try:
            self._seen[node] = seen_of(message)
        except (ValueError, KeyError):
            return
        self._new.add(node)

    def judge(self, training: set[int], finished: set[int]) -> str | None:
        """Once every node that trains has looked again: why this attempt is to be ended; None: it is not."""
        if not training or training - self._new:
            return None
        self._new.clear()
        written = _size(self._steps)
        marker = written if written != self._before else None
        seen = Seen.together(
            {node: self._seen[node].without_life() if node in finished else self._seen[node] for node in sorted(self._seen)}
        )
        verdict = self._watch.look(now_s(), seen, Steps(marker))
        self._remember()
        return self._act(verdict)

    def _act(self, verdict: Verdict) -> str | None:
        before, self._said = self._said, verdict
        if verdict.name == before.name:
            return None
        attempt = self._record.attempt
        if verdict.name == "works":
            self._record.event("goes-on", attempt=attempt, after=before.name)
            self._record.save(reason=None)
            return None
        reason = f"{'hang' if verdict.name == 'hang' else 'paused by somebody'}: {verdict.reason}"
        if verdict.name == "hang" and self._hang == "restart":
            self._record.event("hang", attempt=attempt, reason=reason, action="restart", stacks="the nodes' logs")
            return reason
        reason += "; nothing is done about it" if verdict.name == "paused" else "; only reported, as monitor.hang says"
        more = {"action": "report"} if verdict.name == "hang" else {}
        self._record.event(verdict.name, attempt=attempt, reason=reason, **more)
        self._record.save(reason=reason)
        say(reason)
        return None

    def _remember(self) -> None:
        if self._watch.longest_pause_s > 1.25 * self._record.longest_pause_s + MORE_S:
            self._record.save(longest_pause_s=round(self._watch.longest_pause_s, 1))


def _size(path: Path | None) -> int:
    try:
        return os.stat(path).st_size if path is not None else 0
    except OSError:
        return 0
