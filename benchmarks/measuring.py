"""Repetitions in turn (A B C, B C A, ...), their median and spread, and ratios with a goal."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Contestant = Callable[[], float]
"""Runs once and returns the seconds of the part that counts; what it prepares and clears away is its own affair."""


@dataclass(frozen=True)
class Series:
    """The seconds of one contestant, in order of repetition."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "median_s": self.median_s, "seconds": list(self.seconds)}


@dataclass(frozen=True)
class Comparison:
    """`ours` against `peer`: the median of the ratios of repetitions that ran side by side."""

    what: str
    ours: Series
    peer: Series
    goal: float | None = None
    """The ratio must not exceed it; None where the ratio is only told."""

    @property
    def ratios(self) -> list[float]:
        return [ours / peer for ours, peer in zip(self.ours.seconds, self.peer.seconds, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def verdict(self) -> str:
        """met | MISS | - (no goal)"""
        if self.goal is None:
            return "-"
        return "met" if self.ratio <= self.goal else "MISS"

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "ours": self.ours.name,
            "peer": self.peer.name,
            "ratio": self.ratio,
            "ratio_min": min(self.ratios),
            "ratio_max": max(self.ratios),
            "goal": self.goal,
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Bound:
    """A goal without a peer: the median of `values` must not exceed it."""

    what: str
    values: tuple[float, ...]
    goal: float
    unit: str = "s"
    """s | x, for a ratio"""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """met | MISS"""
        return "met" if self.median <= self.goal else "MISS"

    def as_json(self) -> dict[str, Any]:
        told = {"what": self.what, "median": self.median, "values": list(self.values)}
        return {**told, "goal": self.goal, "unit": self.unit, "verdict": self.verdict}


@dataclass
class Group:
    """One question: who ran, and what came out."""

    title: str
    series: list[Series] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "series": [series.as_json() for series in self.series],
            "comparisons": [comparison.as_json() for comparison in self.comparisons],
            "bounds": [bound.as_json() for bound in self.bounds],
            "notes": self.notes,
        }


def interleave(contestants: dict[str, Contestant], repeats: int) -> dict[str, Series]:
    """Every contestant once a round, `repeats` rounds that count, after one that does not (a single round goes without).

    Each round starts with another contestant, so that nobody always runs in the wake of the same neighbour.
    """
    names, seconds = list(contestants), {name: list[float]() for name in contestants}
    for turn in range(-1 if repeats > 1 else 0, repeats):
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            taken_s = contestants[name]()
            progress(f"  {'warm-up' if turn < 0 else f'round {turn + 1}/{repeats}'}: {name}: {taken_s:.4f} s")
            if turn >= 0:
                seconds[name].append(taken_s)
    return {name: Series(name, tuple(seconds[name])) for name in names}


def more(ours: Series, peer: Series) -> tuple[float, ...]:
    """What ours took beyond the peer, round by round."""
    return tuple(mine - theirs for mine, theirs in zip(ours.seconds, peer.seconds, strict=True))


def best(series: list[Series]) -> Series:
    """The peer to beat: the one with the least median."""
    return min(series, key=lambda each: each.median_s)


def progress(text: str) -> None:
    """A line for the person who waits; stderr."""
    print(text, file=sys.stderr, flush=True)
