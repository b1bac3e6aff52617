"""The goodput of a run that is watched: now and then, for it reads the whole history."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from trainyard_shell import Check

if TYPE_CHECKING:
    from run_view.observe import Observation

EVERY_S = 300.0
COST = 50
"""The pause is at least so many times what the last account took, so that a run of a million steps costs 2 % of a core."""
JUDGED_AFTER_S = 1800.0
"""Of wall time: the start alone takes minutes, and is all that there is at first."""


class GoodputWatch:
    """`account` is None until the first one is there, and where nothing tells."""

    def __init__(self, minimum: float | None, stall_factor: float) -> None:
        self.minimum, self.stall_factor = minimum, stall_factor
        self.account: dict[str, Any] | None = None
        self._next = 0.0

    def look(self, view: Observation) -> None:
        began = time.monotonic()
        if began < self._next and not view.state.ended:
            return
        from goodput.of_view import history_of, summary_of

        history, booked = history_of(view, self.stall_factor)
        found = summary_of(view, history, booked)
        self.account = {name: found.get(name) for name in ("goodput", "wall_s", "account")}
        self._next = time.monotonic() + max(EVERY_S, COST * (time.monotonic() - began))

    def checks(self) -> list[Check]:
        """[] where no minimum is asked for. What cannot be told is unknown."""
        if self.minimum is None:
            return []
        name, found = "goodput.low", self.account or {}
        goodput, wall_s = found.get("goodput"), found.get("wall_s")
        if not isinstance(goodput, float | int) or not isinstance(wall_s, float | int):
            return [Check(name, "unknown", "the goodput is not known: the records or the log have no times")]
        parts = found.get("account") or {}
        evidence = ", ".join(f"{part} {seconds / wall_s:.0%}" for part, seconds in parts.items() if wall_s and seconds)
        if wall_s < JUDGED_AFTER_S:
            return [Check(name, "skipped", f"goodput {goodput:.0%} after {wall_s:.0f} s: too early to judge", evidence)]
        if goodput < self.minimum:
            fix = "report shows where the time went"
            return [Check(name, "warn", f"goodput {goodput:.0%} is below {self.minimum:.0%}", evidence, fix)]
        return [Check(name, "pass", f"goodput {goodput:.0%}", evidence)]
