"""How long is too long."""

from __future__ import annotations

from dataclasses import dataclass

from run_view.observe import STALL_FACTOR


@dataclass(frozen=True)
class Limits:
    stall_factor: float = STALL_FACTOR
    """Stalled after this many median step times without a step line."""
    start_limit_s: float = 600.0
    """A start without a step line is `unknown` for this long, then a failure."""
    every_loss: bool = False
    """Look at all losses of a job log, however long it is; a view that looks every two seconds does not."""
