"""A schedule is restored as it was saved, its length included: what that means for a run that trains longer is said at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from trainyard import codec

LENGTHS = ("T_max", "total_steps", "total_iters", "T_0", "step_size", "milestones", "_milestones")
"""The settings of torch's schedules that say when something happens."""
AFTER = {
    "T_max": "; after that step the learning rate of a cosine rises again. To go on by the new length, set it after restore()",
    "total_steps": "; a step after that is an error. To train longer, begin a new run from these weights (trainyard.load_weights)",
}


def lengths_that_differ(label: str, saved: Any, live: Any) -> list[str]:
    """In words, each length that the checkpoint's schedule has and the one made here has not; `live` is its state_dict()."""
    here = codec.encode(live, label, lambda path, tensor: None)
    return [
        f"{path} is {_text(there)} in the checkpoint and {_text(ours)} here: the checkpoint's is used{AFTER.get(path.rpartition('.')[2], '')}"
        for path, there, ours in _pairs(saved, here, label)
        if _plain(there) != _plain(ours)
    ]


def has_lengths(saved: Any) -> bool:
    """This encoded state is one of a schedule of a certain length, or holds one."""
    if isinstance(saved, list):
        return any(map(has_lengths, saved))
    return any(key in LENGTHS or has_lengths(value) for key, value in codec.members(saved))


def _pairs(saved: Any, here: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, there, here) of the lengths, also of schedules inside schedules."""
    if isinstance(saved, list) and isinstance(here, list):
        for number, (one, other) in enumerate(zip(saved, here, strict=False)):
            yield from _pairs(one, other, f"{path}.{number}")
        return
    ours = dict(codec.members(here))
    for key, value in codec.members(saved):
        if key in LENGTHS and key in ours:
            yield f"{path}.{key}", value, ours[key]
        elif key in ours:
            yield from _pairs(value, ours[key], f"{path}.{key}")


def _plain(value: Any) -> Any:
    return codec.decode(value, lambda key: torch.empty(0))


def _text(value: Any) -> str:
    plain = _plain(value)
    return str(sorted(plain)) if isinstance(plain, dict) else str(plain)
