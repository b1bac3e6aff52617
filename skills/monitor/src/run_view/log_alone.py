"""A log file without a run folder, as `status` and `health` see it: what it tells, and that nothing tells whether its run lives."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from log_reading.job_log import look_at_file
from log_reading.source import refuse_compressed
from run_folder.folder import MARKS, Checkpoints
from run_folder.lines import Tally
from run_view.observe import Observation
from run_view.state import RunState
from run_view.status import ALONE
from trainyard_shell import SkillError

if TYPE_CHECKING:
    from pathlib import Path

STATE = RunState("unknown", ALONE, "a log alone does not tell whether its run lives")


def is_log_alone(text: str) -> bool:
    """Not a record of a run folder: who names that one means its run."""
    return os.path.isfile(text) and os.path.basename(text) not in MARKS


def log_alone(path: Path) -> Observation:
    """Raises SkillError where the file cannot be read as a log."""
    refuse_compressed(path)
    log = look_at_file(path)
    if log is None:
        raise SkillError("usage", f"{path} cannot be read as a log", hint=f"ls -l {path}")
    return Observation(
        path=path,
        now=time.time(),
        runner=None,
        runner_problem=None,
        state=STATE,
        steps=list(log.steps),
        first=None,
        events=[],
        checkpoints=Checkpoints(),
        tallies=(Tally(""), Tally("")),
        records_written=log.written,
        steps_written=None,
        log=log,
    )
