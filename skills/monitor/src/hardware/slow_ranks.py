"""Which rank is slow: its own work on a step against that of the others of its group, in each of the last five windows.

A wrong name costs a node that was well, so silence is the rule: one slow window, a rank that saves or evaluates, a start, ranks that hold
other parts of the model, or a group of which half is slow are no claim (ByteRobust's fail-slow: 5 windows of 10 s).
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hardware.net_proof import counted
from hardware.rank_files import Window, read_ranks
from trainyard_shell import Check

if TYPE_CHECKING:
    from pathlib import Path

WINDOWS = 5
FACTOR = 1.3
LEAST_PART = 0.1
"""Of the step time: a rank that is slower by less holds nobody up."""
FRESH_S = 60.0
"""A rank that has told nothing for longer than this, while others did, is judged by nothing."""
HOW = (
    "trainyard's Checkpointer writes ranks/ in the run folder, on a file system that all nodes share; FSDP2 has no such figures"
)


@dataclass(frozen=True)
class Slow:
    rank: int
    host: str
    ratio: float
    """The least of the five windows."""
    own_s: float
    others_s: float


@dataclass(frozen=True)
class Pace:
    """What is known of the ranks' own work."""

    ranks: dict[int, list[Window]]
    judged: list[int]
    silent: list[int]
    """Known to be there, and without figures that can be compared."""
    slow: list[Slow]

    def data(self) -> dict[str, object]:
        last = {rank: windows[-1] for rank, windows in self.ranks.items() if windows}
        rows = sorted(last.items(), key=lambda item: -(item[1].own_s or 0.0))
        return {
            "judged": len(self.judged),
            "silent": counted(self.silent),
            "slow": [vars(each) for each in self.slow],
            "slowest": [
                {"rank": rank, "host": each.host, "own_s": each.own_s, "step_s": each.step_s} for rank, each in rows[:8]
            ],
        }


def pace_of(folder: Path, world_size: int | None, factor: float = FACTOR) -> Pace:
    """Judge the newest incarnation."""
    ranks, _ = read_ranks(folder)
    newest = max((windows[-1].time for windows in ranks.values() if windows), default=0.0)
    fresh = {
        rank: windows[-WINDOWS:]
        for rank, windows in ranks.items()
        if len(windows) >= WINDOWS
        and newest - windows[-1].time <= FRESH_S
        and all(window.own_s is not None for window in windows[-WINDOWS:])
    }
    groups: dict[str, dict[int, list[Window]]] = {}
    for rank, windows in fresh.items():
        groups.setdefault(windows[-1].group, {})[rank] = windows
    slow = [each for members in groups.values() for each in _slow_in(members, factor)]
    judged = sorted(rank for members in groups.values() if len(members) > 1 for rank in members)
    everyone = range(world_size) if world_size else sorted(ranks)
    return Pace(ranks, judged, [rank for rank in everyone if rank not in judged], sorted(slow, key=lambda each: -each.ratio))


def _slow_in(members: dict[int, list[Window]], factor: float) -> list[Slow]:
    found = [slow for rank in members if (slow := _slow(rank, members, factor)) is not None]
    return found if 2 * len(found) <= len(members) else []


def _slow(rank: int, members: dict[int, list[Window]], factor: float) -> Slow | None:
    """None unless it is slower than the others' median in every window."""
    ratios, own, others = [], 0.0, 0.0
    for at in range(WINDOWS):
        own = members[rank][at].own_s or 0.0
        rest = [windows[at].own_s or 0.0 for other, windows in members.items() if other != rank]
        if not rest:
            return None
        others = statistics.median(rest)
        if own <= factor * others or own - others < LEAST_PART * members[rank][at].step_s:
            return None
        ratios.append(own / others if others > 0 else factor)
    return Slow(rank, members[rank][-1].host, round(min(ratios), 2), own, others)


def slow_check(pace: Pace, world_size: int | None, *, ended: bool = False) -> Check:
    """`unknown` where ranks cannot be compared: for `health`, that has its own word for it, see `in_health`."""
    name = "ranks.slow"
    if ended:
        return Check(name, "skipped", "the run is finished")
    if world_size == 1:
        return Check(name, "skipped", "one rank has none to be compared with")
    if pace.slow:
        told = ", ".join(
            f"rank {each.rank} on {each.host or 'an unknown host'} takes {each.ratio:.2g} x" for each in pace.slow[:8]
        )
        evidence = "; ".join(
            f"rank {each.rank}: {each.own_s:.3g} s of own work a step, others {each.others_s:.3g} s" for each in pace.slow[:4]
        )
        fix = "look at that node: monitor gpu (heat, throttling), its CPU and its disk; all other ranks wait for it"
        return Check(name, "warn", f"{told} the others' time in {WINDOWS} windows", evidence, fix)
    if not pace.judged or pace.silent:
        text = f"{len(pace.judged)} ranks can be compared; not ranks {counted(pace.silent) or 'unknown'}"
        return Check(name, "unknown", text, f"{WINDOWS} windows of ten seconds in ranks/ are needed", HOW)
    return Check(name, "pass", f"none of {len(pace.judged)} ranks is slower than the others of its group")


def in_health(check: Check) -> Check:
    """A trainer that tells nothing of its ranks is not unfit for it: `ranks` says that it is unknown."""
    return Check(check.id, "skipped", check.summary, check.evidence) if check.status == "unknown" else check
