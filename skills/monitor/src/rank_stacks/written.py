"""A rank's stack as text, with its state in front: the form in which evidence keeps it."""

from __future__ import annotations

from typing import Any

from rank_stacks.reading import from_spy
from trainyard_shell import clean

LETTERS = {"stopped": "T", "traced": "t", "uninterruptible": "D", "zombie": "Z"}
"""As /proc and ps write them."""


def text_of(row: dict[str, Any]) -> str:
    """Of a row of look.py."""
    state = str(row.get("state"))
    head = f"==== rank {row['rank']} state {LETTERS.get(state, 'S')} ({state}), pid {row.get('pid')} {row.get('pod') or ''}".rstrip()
    return f"{head} ====\n{_stack(row)}\n"


def _stack(row: dict[str, Any]) -> str:
    if "text" in row:
        return str(row["text"])
    try:
        threads = from_spy(str(row["spy"]))
    except (KeyError, ValueError):
        return clean(str(row.get("why") or ""), 300)
    return "\n".join(f"  {frame}" for frame in (threads[-1] if threads else ()))
