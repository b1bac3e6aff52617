"""A run's whole history with its account, of a run folder or of a log file without one."""

from __future__ import annotations

import time
from pathlib import Path

from goodput.account import Account, account
from goodput.from_logs import history_of_logs
from goodput.history import History, StepTable
from goodput.of_view import history_of
from log_metrics.verb import read_source, unknown_format
from log_reading.source import LogSource, refuse_compressed
from run_folder.folder import Checkpoints
from run_folder.lines import Tally
from run_view.observe import Observation, observe
from run_view.state import RunState


def run_of_folder(path: Path, stall_factor: float) -> tuple[Observation, History, Account | None]:
    view = observe(path, stall_factor=stall_factor)
    return (view, *history_of(view, stall_factor))


def log_alone(path: Path, stall_factor: float) -> tuple[Observation, History, Account | None]:
    """A log file without a run folder: its curves, and the account if it has times."""
    refuse_compressed(path)
    nothing = History(StepTable(), [], [], (Tally(""), Tally("")), 0)
    history = history_of_logs([path], nothing, None, time.time())
    if not len(history.steps):
        source = LogSource(str(path), (path,), growing=True)
        raise unknown_format(read_source(source, "auto", None), source, "auto", None)
    state = RunState("unknown", "the log", "a log alone does not tell whether its run lives")
    view = Observation(
        *(path, time.time(), None, None, state, [], None, [], Checkpoints(), history.tallies, path.stat().st_mtime, None)
    )
    times = history.log is not None and history.log.has_times
    return view, history, account(history, stall_factor=stall_factor) if times else None
