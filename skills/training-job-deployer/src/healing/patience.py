"""Waiting: for an answer that cannot be had now, and for the time of a restart. Each has a deadline (monotonic)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import trainyard_shell as shell
from deploy_place import LOOK_INTERVAL_S
from deployment import Ref
from run_state import store
from run_state.record import Run

T = TypeVar("T")
AWAY = ("unreachable", "credentials")
PASSING = (*AWAY, "timeout")
"""Errors of a question that may be answered later: the cluster, its login, a lock."""


def patiently(ask: Callable[[], T], deadline: float, codes: tuple[str, ...] = PASSING) -> T:
    """The answer; asked for again while it cannot be had. Raises its SkillError near the deadline, and at once any other."""
    while True:
        try:
            return ask()
        except shell.SkillError as error:
            if error.code not in codes or time.monotonic() + LOOK_INTERVAL_S > deadline:
                raise
            shell.progress(f"{error}; asked again in {LOOK_INTERVAL_S:.0f} s")
            time.sleep(LOOK_INTERVAL_S)


def wait_unless_touched(ref: Ref, run: Run, wait_s: float, deadline: float) -> bool:
    """False as soon as somebody has started or stopped the run. Raises SkillError timeout where the deadline comes first.

    Counted from when the end was recorded: the same call again goes on with it.
    """
    watched = run.stages.get("watch")
    began = watched.ended if watched and watched.ended else time.time()
    until = time.monotonic() + min(wait_s, began + wait_s - time.time())
    while (left_s := min(until, deadline) - time.monotonic()) > 0:
        time.sleep(min(left_s, LOOK_INTERVAL_S))
        now = as_it_is(ref, run)
        if now is None or now.stop_asked:
            return False
    if until > deadline:
        raise shell.SkillError("timeout", f"the time to watch is over; {run.name} waits to be started again", retryable=True)
    return True


def as_it_is(ref: Ref, run: Run) -> Run | None:
    """run.json now; None where another start is in it than `run`."""
    current = store.load(ref.run_dir)
    return current if current is not None and (current.run_id, current.starts) == (run.run_id, run.starts) else None
