"""Losses that are not finite: since when, what can be gone back to, and what does not help then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from run_health.log_losses import BadLosses, bad_losses
from run_folder.records import number, shown
from run_view.status import last_checkpoint
from trainyard_shell import Check

if TYPE_CHECKING:
    from run_folder.records import StepLine
    from run_health.limits import Limits
    from run_view.observe import Observation

MORE_OFTEN = "a smaller checkpoints.rolling_steps in the job file saves more often"
NOT_BY_SAVING = "see loss.finite first: parameters that are NaN are not saved, however often"


def loss_check(view: Observation, limits: Limits) -> Check:
    name, told = "loss.finite", [line for line in view.steps if line.loss is not None]
    if not told:
        return Check(name, "unknown", "no loss was written yet")
    bad, last = [line for line in told if not _is_finite(line)], told[-1]
    if has_diverged(view):
        since, at_least = _since(view, told)
        text = f"{'at the latest ' if at_least else ''}since step {since}"
        return Check(name, "fail", f"loss is {shown(last.loss)} at step {last.step}", text, _way_back(view, since))
    if limits.every_loss and (whole := bad_losses(view)) is not None and whole.count > len(bad):
        return _in_the_whole_log(whole)
    if bad:
        text = f"{len(bad)} of the last {len(told)} losses are not finite"
        return Check(name, "warn", text, f"last at step {bad[-1].step}", f"look at the data of step {bad[-1].step}")
    return Check(name, "pass", f"loss {shown(last.loss):.4g} at step {last.step}", f"{len(told)} step lines looked at")


def _in_the_whole_log(bad: BadLosses) -> Check:
    where = (
        f"first at step {bad.first_step}, last at step {bad.last_step}" if bad.first_step is not None else "in the whole log"
    )
    text = f"{bad.count} loss{'es' if bad.count > 1 else ''} of the log {'are' if bad.count > 1 else 'is'} not finite"
    look = f"look at the data of step {bad.last_step}" if bad.last_step is not None else "look for nan and inf in the log"
    return Check("loss.finite", "warn", text, where, look)


def has_diverged(view: Observation) -> bool:
    """Whether the newest loss is not finite."""
    return next((not _is_finite(line) for line in reversed(view.steps) if line.loss is not None), False)


def more_often(view: Observation) -> str:
    """How less is lost by a death."""
    return NOT_BY_SAVING if has_diverged(view) else MORE_OFTEN


def _is_finite(line: StepLine) -> bool:
    return abs(number(line.loss)) < float("inf")


def _since(view: Observation, told: list[StepLine]) -> tuple[int, bool]:
    """(first step of the unbroken row of losses that are not finite, whether it may have begun before that).

    A row longer than the lines that were read is followed back by the trainer's events.
    """
    good = max((at for at, line in enumerate(told) if _is_finite(line)), default=-1)
    step = told[good + 1].step
    if good >= 0:
        return step, False
    known = {event.step for event in view.events if event.type == "nan-loss"}
    while step - 1 in known:
        step -= 1
    first = view.first or told[0]
    is_exact = step in known and _is_finite(first) and view.tallies[1].complete
    return step, first.step < step and not is_exact


def _way_back(view: Observation, since: int) -> str:
    look = f"look at the data of step {since}"
    if view.log is not None:
        return f"go back to a checkpoint from before step {since}, if the script saved one, with a lower learning rate; {look}"
    if any(step < since for step in view.checkpoints.steps) or (view.checkpoints.problem and last_checkpoint(view, 0)):
        return f"resume from `best` or another step before {since} with a lower learning rate; {look}"
    return f"begin a new run with a lower learning rate: there is no checkpoint to go back to; {look}"
