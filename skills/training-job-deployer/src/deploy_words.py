"""What a run's state and its restart point mean, in words."""

from __future__ import annotations

from typing import Any


def is_hopeless(reason: str | None) -> bool:
    """Whether the runner gave the run up because another attempt would end in the same way."""
    return "a restart cannot help" in (reason or "")


def where_it_begins(point: dict[str, Any] | None) -> str:
    """Where a resumed run begins (deploy_place.Place.restart_point)."""
    if point is None:
        return "goes on from its newest checkpoint"
    if point.get("step"):
        return f"goes on from its newest checkpoint, step {point['step']}"
    if point.get("step") is None:
        return "begins again at step 0, unless the script resumes by itself: no checkpoint of it is known here"
    return "begins again at step 0: nothing that was saved is known here"
