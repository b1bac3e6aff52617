"""Between two looks at a run: until its time has come, or the supervisor's record or life says that it has ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from run_view import processes
from run_folder.folder import read_runner
from run_view.state import ENDED

if TYPE_CHECKING:
    from run_view.observe import Observation

POLL_S = 0.2
LET_GO_S = 10.0


def until_news(view: Observation, interval_s: float) -> None:
    """Returns after `interval_s`, and before that when a run that has a supervisor has ended or lost it."""
    deadline, supervised = time.monotonic() + interval_s, _is_supervised(view)
    while (left_s := deadline - time.monotonic()) > 0:
        time.sleep(min(left_s, POLL_S))
        if supervised and not _goes_on(view):
            return


def until_let_go(view: Observation, deadline: float) -> None:
    """The supervisor writes the end before it leaves: what comes next, a resume say, may begin when it has."""
    deadline = min(deadline, time.monotonic() + LET_GO_S)
    while _is_supervised(view) and time.monotonic() < deadline:
        time.sleep(POLL_S / 4)


def _is_supervised(view: Observation) -> bool:
    supervisor = view.runner.supervisor if view.runner else None
    return supervisor is not None and processes.lives(supervisor, view.path)


def _goes_on(view: Observation) -> bool:
    runner, _ = read_runner(view.path)
    return _is_supervised(view) and (runner is None or runner.state not in ENDED)
