"""Whether the waits in a set of dumps are longer than those of a healthy run, by the run's own past."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from flight_recorder.dump import Dump

SHORTEST_S = 1.0
TIMES_LONGEST, TIMES_MEDIAN = 2.0, 10.0


def waits_long(dumps: Mapping[int, Dump], times: Mapping[int, float]) -> bool:
    """Whether every rank that waits has waited for longer than it ever did, and much longer than usual."""
    return all(
        times[rank] - min(entry.created_s for entry in dump.open) > limit_s(dump) for rank, dump in dumps.items() if dump.open
    )


def limit_s(dump: Dump) -> float:
    """Twice the longest pause between two calls of this rank, and ten times the usual one; a rank with one call has no past."""
    begun = sorted(entry.created_s for entry in dump.entries if not entry.is_open)
    pauses = sorted(later - earlier for earlier, later in pairwise(begun))
    if not pauses:
        return SHORTEST_S
    return max(SHORTEST_S, TIMES_LONGEST * pauses[-1], TIMES_MEDIAN * pauses[len(pauses) // 2])
