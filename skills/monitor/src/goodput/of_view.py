"""The history of a run that was looked at, from whatever it has, with its account and its summary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from goodput.account import Account, account
from goodput.from_logs import history_of_logs
from goodput.from_records import read_history
from goodput.summary import summarize
from log_reading.source import job_logs
from run_folder.folder import log_pattern

if TYPE_CHECKING:
    from goodput.history import History
    from run_view.observe import Observation


def history_of(view: Observation, stall_factor: float) -> tuple[History, Account | None]:
    """The whole history, and where its time went; None where nothing was recorded, or a log has no times."""
    history = read_history(view.path)
    if view.log is not None:
        history = history_of_logs(job_logs(view.path, view.runner), history, view.runner, view.now, log_pattern(view.path))
    if history.log is not None and not history.log.has_times:
        return history, None
    return history, account(history, now=view.now if view.state.alive else None, stall_factor=stall_factor)


def summary_of(view: Observation, history: History, booked: Account | None) -> dict[str, Any]:
    return summarize(history, booked, view.runner.restarts if view.runner else None)
