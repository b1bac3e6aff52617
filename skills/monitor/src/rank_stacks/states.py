"""In one word what a rank does, by its state, its processor time and its stack."""

from __future__ import annotations

from typing import Any

from rank_stacks.reading import Stack

SPINS, WORKS = 0.9, 0.05
"""Shares of a processor. A rank in a gloo wait uses at most 1 tick in 5 s (measured)."""
ENDED = ("gone", "zombie")


def doing(row: dict[str, Any], stack: Stack) -> str:
    """stopped, traced, gone, zombie, uninterruptible (waits for storage); waits; spins (waits or loops with a whole processor); works."""
    state, share = str(row.get("state")), row.get("share")
    if state in ("stopped", "traced", "uninterruptible", *ENDED):
        return state
    if share is None:
        return "unknown"
    if share < WORKS and state != "running":  # on a machine with too much to do one that runs gets little too
        return "waits"
    is_in_collective = any("torch/distributed/" in frame.file for frame in stack[:6])
    return "spins" if share >= SPINS and is_in_collective else "works"
