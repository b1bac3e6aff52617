"""Where the time of a few steps goes: torch's profiler from one step to another, and nothing at all before and after."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch.profiler import profile

TABLE_ROWS, PRINTED_ROWS = 50, 10


@dataclass(frozen=True)
class StepRange:
    """Steps `first` to `last`, both included; written `10:12`, or `10` alone."""

    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.first}:{self.last}"

    def check(self, steps: int) -> None:
        """Raises ValueError where a run of that many steps does not have them all."""
        if self.last > steps:
            raise ValueError(f"--profile {self} lies outside the run of {steps} steps")


def step_range(text: str) -> StepRange:
    """Raises ValueError."""
    match = re.fullmatch(r"(\d+)(?::(\d+))?", text, re.ASCII)
    found = StepRange(int(match[1]), int(match[2] or match[1])) if match else None
    if found is None or not 1 <= found.first <= found.last:
        raise ValueError(f"{text!r} is no range of steps such as 10:12; the first step is 1")
    return found


class StepProfiler:
    """Writes `steps-10-12.json.gz`, a trace for Perfetto or chrome://tracing, and `steps-10-12.txt`, the summary, to `folder`.

    Without `steps` it does nothing. The numbers of the training stay the same.
    """

    def __init__(self, steps: StepRange | None, folder: Path) -> None:
        self._steps, self._folder = steps, folder
        self._profile: profile | None = None

    def before(self, step: int) -> None:
        """To be called before each step. A run that is resumed within the range profiles what is left of it."""
        if self._steps is None or self._profile is not None or not self._steps.first <= step <= self._steps.last:
            return
        self._profile = torch.profiler.profile(acc_events=True)
        self._profile.start()
        self._began = step

    def after(self, step: int) -> Path | None:
        """To be called after each step; the trace, when it was just written."""
        if self._steps is None or self._profile is None or step < self._steps.last:
            return None
        return self._end(step)

    def close(self, step: int) -> Path | None:
        """The run ends with this step: what was profiled so far is written."""
        return None if self._profile is None else self._end(step)

    def _end(self, step: int) -> Path | None:
        """The trace; None where the disk does not take it, which is no reason to end a training."""
        finished, self._profile, self._steps = self._profile, None, None
        assert finished is not None
        finished.stop()
        trace = self._folder / f"steps-{self._began}-{step}.json.gz"
        order = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        averages = finished.key_averages()
        for line in averages.table(sort_by=order, row_limit=PRINTED_ROWS, max_name_column_width=32).splitlines():
            print(f"profile: {line}", flush=True)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            finished.export_chrome_trace(str(trace))
            summary = averages.table(sort_by=order, row_limit=TABLE_ROWS)
            trace.with_name(f"steps-{self._began}-{step}.txt").write_text(summary)
        except OSError as error:
            print(f"profile: {trace} cannot be written: {error}", file=sys.stderr, flush=True)
            return None
        return trace
