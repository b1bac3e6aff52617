"""An error of one rank as the other ranks hear of it: data, for a kind that is read out of words is read wrongly one day."""

from __future__ import annotations

from typing import TypedDict

from trainyard import errors
from trainyard.patience import told

TEXT_BYTES = 2048
"""Of a text that goes to all ranks, thousands maybe."""
UNREADABLE = "Unreadable"
"""A file that could not be read, or no memory for it: not an error of the tree, for nothing is wrong with the checkpoint."""


class RankError(TypedDict):
    kind: str
    """The nearest class of the tree in errors.py, or UNREADABLE."""
    text: str


def as_data(error: Exception) -> RankError:
    tree = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == errors.__name__]
    text = told(error).encode()[:TEXT_BYTES].decode(errors="replace")
    return {"kind": tree[0] if tree else UNREADABLE, "text": text}


def texts(found: list[RankError | None], kind: str | None = None) -> list[str]:
    """What the ranks that have an error of this kind say, by rank; None: of any."""
    return [error["text"] for error in found if error is not None and kind in (None, error["kind"])]
