"""What of a step is to be saved, and why: by policy, at the end of an epoch, for the least validation loss, on a stop."""

from __future__ import annotations

import dataclasses
import math

from trainyard.saving import Due, Saver


class Dues:
    """What is due of the step that was told last, until it is taken or the next step overtakes it."""

    def __init__(self, saver: Saver) -> None:
        self._saver = saver
        self.due: Due | None = None

    def add(self, step: int, told: Due, *, may_be_busy: bool) -> float | None:
        """Note what is due of this step, which was told with `told`; returns the best loss with it."""
        reasons = told.reasons | self._reasons(step, told)
        if self.due is not None or reasons - {"rolling"} or (reasons and self._saver.all_idle(may_be_busy)):
            self.due = dataclasses.replace(told, reasons=reasons).after(self.due)
        else:
            self._saver.prefault()
        return told.val_loss if "best" in reasons else told.best_before

    def _reasons(self, step: int, told: Due) -> set[str]:
        reasons = {"rolling"} if self._saver.is_rolling_due(step) else set()
        if told.end_of_epoch:
            reasons.add("epoch")
        best = math.inf if told.best_before is None else told.best_before
        if told.val_loss is not None and math.isfinite(told.val_loss) and told.val_loss < best:
            reasons.add("best")
        return reasons

    def take(self) -> Due | None:
        due, self.due = self.due, None
        return due

    def overtake(self, best_loss: float | None) -> float | None:
        """A next step is done, and what the last one should have saved is no more: a loop that takes several steps on a batch.

        Returns the best loss of what can still be saved.
        """
        overtaken = self.take()
        if overtaken is None:
            return best_loss
        self._saver.rolling_due = True
        return overtaken.best_before
