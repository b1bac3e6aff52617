"""ranks/rank-0003.jsonl: every ten seconds or so, how long this rank's own work on a step took (shared-docs/run-folder.md).

That is what tells a slow rank from those that wait for it. Medians, so that an evaluation or a save in one step of a window does not show.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainyard.aside import Aside
from trainyard.files import write_atomically
from trainyard.own_time import OwnTime

WINDOW_S = 10.0
MAX_BYTES, KEPT_LINES = 128 << 10, 200
"""A file that grows beyond this is cut to its last lines: half an hour."""
MOST_STEPS = 10_000


class RankPace:
    """Of one rank. Without a run folder, with one rank, or with TRAINYARD_RANK_PACE=0, it does nothing."""

    def __init__(
        self,
        run_dir: Path | None,
        rank: int,
        world_size: int,
        things: Iterable[Any],
        aside: Aside,
        *,
        window_s: float = WINDOW_S,
    ) -> None:
        wanted = run_dir is not None and world_size > 1 and os.environ.get("TRAINYARD_RANK_PACE") != "0"
        self._file = run_dir / "ranks" / f"rank-{rank:04d}.jsonl" if run_dir is not None and wanted else None
        self._own = OwnTime(things) if self._file is not None else None
        self._rank, self._aside, self._window_s = rank, aside, window_s
        self.incarnation = 0
        self._asked = False
        self._window_began = self._step_ended = time.monotonic()
        self._owns: list[float] = []
        self._steps: list[float] = []

    def begin(self) -> None:
        """A step is over, and the work of the next one begins."""
        self._asked = False
        if self._own is not None:
            self._own.begin()

    def asks_for_batch(self) -> None:
        """What the script did before it asked for the step's first batch, such as an evaluation or a save, is none of its time."""
        if not self._asked:
            self.begin()
            self._asked = True

    def arrived(self, step: int) -> None:
        """A step is done."""
        if self._own is None:
            return
        now = time.monotonic()
        self._owns += self._own.taken()
        self._steps.append(now - self._step_ended)
        self._step_ended = now
        if now - self._window_began >= self._window_s or len(self._steps) >= MOST_STEPS:
            self._tell(step)
            self._window_began, self._owns, self._steps = now, [], []

    def restart(self) -> None:
        """A restore is none of a step's time."""
        self._window_began = self._step_ended = time.monotonic()
        self.begin()

    def close(self) -> None:
        if self._own is not None:
            self._own.close()

    def _tell(self, step: int) -> None:
        assert self._own is not None
        record = {
            "time": round(time.time(), 3),
            "rank": self._rank,
            "incarnation": self.incarnation,
            "step": step,
            "steps": len(self._steps),
            "step_s": round(statistics.median(self._steps), 6),
            "own_s": round(statistics.median(self._owns), 6) if self._owns else None,
            "group": self._own.group,
            "host": os.uname().nodename,
        }
        file = self._file
        assert file is not None
        self._aside.put("rank-pace", lambda: append(file, record))


def append(file: Path, record: dict[str, Any]) -> None:
    """One write of one line; what cannot be written is lost."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
        try:
            os.write(descriptor, (json.dumps(record) + "\n").encode())
            size = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if size > MAX_BYTES:
            lines = file.read_bytes().splitlines(keepends=True)
            write_atomically(file, b"".join(lines[-KEPT_LINES:]), durably=False)
