"""What the runner has recorded of hangs and pauses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainyard_shell import clean

if TYPE_CHECKING:
    from run_view.observe import Observation

MAX_REASON_CHARS = 300


def hang_data(view: Observation) -> dict[str, Any]:
    """`paused`: why nobody trains now, by the runner's record; null while that is not so."""
    hangs = [event for event in view.events if event.type == "hang"]
    last = hangs[-1] if hangs else None
    told = (
        {
            "attempt": last.attempt,
            "reason": clean(str(last.reason), MAX_REASON_CHARS),
            "action": last.action,
            "stacks": last.stacks,
        }
        if last
        else None
    )
    return {"paused": paused(view), "hangs": len(hangs), "last_hang": told}


def paused(view: Observation) -> str | None:
    last = view.last_event("paused", "goes-on", "hang", "attempt", "attempt-ended", "run-ended")
    return (
        clean(str(last.reason), MAX_REASON_CHARS)
        if last is not None and last.type == "paused" and not view.state.ended
        else None
    )
