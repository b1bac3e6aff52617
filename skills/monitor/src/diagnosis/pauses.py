"""Whether a run makes steps when its evidence is collected: a pause is an evaluation, a save, or the begin of a hang."""

from __future__ import annotations

import time

from diagnosis.case import Case

LIVE_S = 24 * 3600.0
"""A folder that nobody has written to for longer is not of a run that goes on now."""
PAUSE_FACTOR, PAUSE_S = 10.0, 10.0
"""Longer than that many usual steps, and than this, is a pause."""
STALL_FACTOR, STALL_S = 20.0, 900.0


def wall_now(case: Case) -> float | None:
    """The time of the evidence; of a folder that is still written to, now."""
    if case.now is not None:
        return case.now
    written = case.history.last_write if case.history else None
    return time.time() if written is not None and 0 <= time.time() - written < LIVE_S else None


def pause_s(case: Case) -> float | None:
    """Seconds since the last step when the evidence was collected; None where that is not known."""
    now, last = wall_now(case), case.last_step_time
    return now - last if now is not None and last is not None else None


def usual_step_s(case: Case) -> float:
    return case.history.median_step_s if case.history and case.history.median_step_s else 1.0


def is_paused(case: Case) -> bool:
    past = pause_s(case)
    return past is not None and past > max(PAUSE_FACTOR * usual_step_s(case), PAUSE_S)


def is_stalled(case: Case) -> bool:
    """A pause that is long for an evaluation or a save."""
    past = pause_s(case)
    return past is not None and past >= max(STALL_FACTOR * usual_step_s(case), STALL_S)


def is_quiet(case: Case) -> bool:
    """Of a run here that tells no time of its steps: nobody has written to its log for as long as a pause takes."""
    history = case.history
    if case.outcome != "running" or case.last_step_time is not None or history is None or history.folder != case.evidence.root:
        return False
    try:
        written = max((facts.source.path.stat().st_mtime for facts in case.logs if facts.source.path), default=None)
    except OSError:
        return False
    return written is not None and time.time() - written > PAUSE_S


def proves_straying(case: Case) -> bool:
    """Whether a rank that is elsewhere than all others holds them up: in an evaluation or a save of one rank they all wait for it.

    So of stacks that were asked for in a pause only a stopped rank is believed; those that the supervisor or a rank wrote are of a hang.
    """
    asked_for = case.has_live_stacks or (case.outcome == "running" and bool(case.evidence.about.get("stacks")))
    return not asked_for or is_stalled(case)


def is_moving(case: Case) -> bool:
    """False where nothing says so."""
    return case.outcome == "running" and pause_s(case) is not None and not is_paused(case)


def is_of_a_moment(case: Case) -> bool:
    """Stacks and dumps of a run that moves, or may: its ranks are in different places, which proves nothing.

    `collect` asks for them whatever the run does, and says so; those that the supervisor or a rank wrote are of a hang.
    """
    asked_for = case.outcome == "running" and bool(case.evidence.about.get("stacks"))
    return is_moving(case) or (asked_for and not is_paused(case))
