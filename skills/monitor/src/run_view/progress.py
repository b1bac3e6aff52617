"""Where the newest attempt of a run is, cheaply: local-runner's supervisor asks this every half a minute (`progress`).

The end of one file is read, however long it is. `marker` is another one after each step, and means nothing else.
"""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING, Any

from log_reading.reader import read_log
from log_reading.source import job_logs
from run_folder.folder import log_pattern, read_runner
from run_folder.lines import Tally, decoded, tail_lines
from run_folder.records import STEP

if TYPE_CHECKING:
    from pathlib import Path

END_BYTES, HEAD_BYTES = 256 << 10, 64 << 10


def progress_data(path: Path) -> dict[str, Any]:
    """`rows`: lines with metrics in what was read; 0: no step can be read. `age_s`: since the last step, where that is known."""
    steps = list(decoded(tail_lines(path / "steps.jsonl", END_BYTES, tally := Tally("")), STEP, tally))
    if steps:
        last = steps[-1]
        marker = f"{last.incarnation} {last.step} {last.time}"
        age_s = max(0.0, time.time() - last.time)
        return {
            "source": "steps.jsonl",
            "format": "trainyard",
            "rows": len(steps),
            "step": last.step,
            "age_s": age_s,
            "marker": marker,
        }
    logs = job_logs(path, read_runner(path)[0])
    return _of_log(logs[-1], log_pattern(path)) if logs else _nothing(None)


def _of_log(log: Path, pattern: str | None) -> dict[str, Any]:
    try:
        with log.open("rb") as stream:
            start = max(0, os.fstat(stream.fileno()).st_size - END_BYTES)
            head = stream.read(HEAD_BYTES) if start else b""
            stream.seek(start)
            end = stream.read(END_BYTES)
    except OSError:
        return _nothing(log.name)
    # A progress bar never ends its line; what was cut off is none.
    end = end.replace(b"\r", b"\n").partition(b"\n")[2] if start else end
    found = read_log(io.BytesIO(end), pattern=pattern, growing=True, head=head)
    table, rows = found.table, len(found.table) + len(found.table.eval_loss)
    if found.format is None or not rows:
        return _nothing(log.name)
    step = table.step[-1] if len(table) else table.eval_step[-1]
    values = [table.value(name, len(table) - 1) for name in sorted(table.columns)] if len(table) else []
    # Repeats: lines within an epoch, where only the epoch can be read as a step.
    marker = f"{step} {rows} {table.repeats} {table.time[-1] if table.time else ''} {values} {list(table.eval_loss[-1:])}"
    return _nothing(log.name) | {"format": found.format, "rows": rows, "step": step, "marker": marker}


def _nothing(source: str | None) -> dict[str, Any]:
    return {"source": source, "format": None, "rows": 0, "step": None, "age_s": None, "marker": None}
