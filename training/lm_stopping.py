"""Early stopping: enough evaluations in a row without a better validation loss."""

from __future__ import annotations

import math
from typing import Any


class EarlyStopping:
    """Part of the saved state, so that a resumed run stops where the uninterrupted one does.

    `patience` evaluations without an improvement of more than `min_delta` are enough; 0 never stops. Both are settings and not
    state: a run that has stopped goes on when it is started again with more patience.
    """

    def __init__(self, patience: int, min_delta: float = 0.0) -> None:
        self.patience, self.min_delta = patience, min_delta
        self.best_loss, self.evaluations_since_best = math.inf, 0

    @property
    def is_over(self) -> bool:
        return 0 < self.patience <= self.evaluations_since_best

    def update(self, val_loss: float) -> None:
        """One evaluation; NaN is no improvement."""
        if val_loss < self.best_loss - self.min_delta:
            self.best_loss, self.evaluations_since_best = val_loss, 0
        else:
            self.evaluations_since_best += 1

    def state_dict(self) -> dict[str, Any]:
        return {"best_loss": self.best_loss, "evaluations_since_best": self.evaluations_since_best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_loss, self.evaluations_since_best = state["best_loss"], state["evaluations_since_best"]
