"""Which ranks hold the others up, by the flight recorders of all of them. Pure: files in, verdict out.

In this order: another call than the rest (order, shape, type); a rank for which others wait and which itself waits for nobody; a circle of
ranks that wait for each other, out of which the fewest stand elsewhere; and where everybody has called everything, the ranks that have
completed least. A dump is one moment of a run that may be healthy: nobody is named before a wait is much longer than those before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flight_recorder.calls import Calls, differing
from flight_recorder.dump import Dump, Entry, rank_of, read_dump
from flight_recorder.patience import waits_long
from trainyard_files import Unusable
from trainyard_shell import clean

MAX_FILES = 4096
HANG, DIFFERS, MOVES, IDLE, UNKNOWN = "hang", "mismatch", "moves", "idle", "unknown"


@dataclass(frozen=True)
class Verdict:
    state: str
    """hang: ranks are missing in a collective. mismatch: ranks called another one. moves: some wait, none for long. idle: nobody waits.
    unknown: the files do not say; never healthy."""
    guilty: tuple[int, ...] = ()
    """The ranks that hold the others up; empty unless `state` is hang or mismatch."""
    reason: str = ""
    collective: str = ""
    group: str = ""
    group_ranks: tuple[int, ...] = ()
    seq: int | None = None
    waiting: tuple[int, ...] = ()
    """The ranks that are in the collective and wait."""
    waits_s: float | None = None
    where: str = ""
    """Where the script called the collective."""
    without_file: tuple[int, ...] = ()
    """Ranks that others name and that have left no dump: stopped, ended, or never asked."""
    unreadable: tuple[str, ...] = ()
    ranks: int = 0
    """Dumps that were read."""
    calls: tuple[dict[str, Any], ...] = field(default=())
    """Of a mismatch: who called what."""

    def document(self) -> dict[str, Any]:
        return asdict(self)


def guilty_ranks(files: Sequence[Path]) -> Verdict:
    """Of dumps of one moment, a file each rank. Raises nothing: what cannot be read is named in `unreadable`."""
    dumps: dict[int, Dump] = {}
    times: dict[int, float] = {}
    unreadable: list[str] = []
    named: set[int | None] = set()
    for path in sorted(files)[:MAX_FILES]:
        try:
            dump = read_dump(path)
            dumps[dump.rank], times[dump.rank] = dump, dump.made_s or path.stat().st_mtime
        except (OSError, Unusable) as error:
            unreadable.append(clean(str(error), 300))
            named.add(rank_of(path))
    return verdict_of(dumps, times, unreadable, {rank for rank in named if rank is not None})


def verdict_of(
    dumps: Mapping[int, Dump], times: Mapping[int, float], unreadable: Sequence[str] = (), named: Set[int] = frozenset()
) -> Verdict:
    """`times`: when each dump was made, seconds since 1970. `named`: ranks that there are, whatever the dumps say."""
    calls = Calls(dumps, named)
    about: dict[str, Any] = {"without_file": calls.absent, "unreadable": tuple(unreadable), "ranks": len(dumps)}
    if not dumps:
        return Verdict(UNKNOWN, reason="no dump could be read", **about)
    if not any(dump.entries for dump in dumps.values()):
        return Verdict(UNKNOWN, reason="no collective was recorded: TORCH_FR_BUFFER_SIZE=0?", **about)
    waiting = {rank: dump.open[0] for rank, dump in dumps.items() if dump.open}
    if not waiting:
        state = UNKNOWN if calls.absent or unreadable else IDLE
        return Verdict(state, reason="no rank whose dump is there waits in a collective", **about)
    if calls.moves():
        return Verdict(MOVES, reason="collectives were completed between one dump and another", **about)
    if not waits_long(dumps, times):
        longest_s = max(times[rank] - entry.created_s for rank, entry in waiting.items())
        return Verdict(MOVES, reason="the waits are not longer than those before", waits_s=round(longest_s, 3), **about)
    return _mismatch(calls, times, about) or _missing(calls, times, about) or _behind(calls, times, about)


# --- what is wrong -----------------------------------------------------------------------------------------------


def _mismatch(calls: Calls, times: Mapping[int, float], about: dict[str, Any]) -> Verdict | None:
    """Ranks that met in one collective with another call than most."""
    for group, seq in calls.open_ones():
        met = calls.met(group, seq)
        variants = differing(met)
        if len(variants) < 2:
            continue
        fewest = min(len(ranks) for ranks in variants.values())
        guilty = sorted(rank for ranks in variants.values() if len(ranks) == fewest for rank in ranks)
        rarest = sorted(variants.items(), key=lambda each: len(each[1]))
        words = "; ".join(f"{_named(sorted(ranks))} called {call}" for call, ranks in rarest[:3])
        shown = tuple({"ranks": sorted(ranks), "call": call} for call, ranks in rarest)
        one = met[guilty[0]]
        return Verdict(DIFFERS, tuple(guilty), words, **_where(calls, one, times), where=one.line, calls=shown, **about)
    return None


def _missing(calls: Calls, times: Mapping[int, float], about: dict[str, Any]) -> Verdict | None:
    """Ranks that others wait for in a collective that they have not come to."""
    waits = calls.waits()
    if not waits or (calls.all_on_gpus() and calls.behind()):
        return None  # on GPUs a call is no arrival: the processor runs ahead of them
    waited_for = set().union(*waits.values())
    guilty = waited_for - waits.keys()
    if guilty and all(calls.waits_for_unknown(rank) for rank in guilty):
        return None
    guilty = {rank for rank in guilty if not calls.waits_for_unknown(rank)}
    if guilty & calls.dumps.keys() and not calls.blocked(guilty & set(calls.absent), guilty):
        guilty -= set(calls.absent)
    if not guilty:  # a circle: all wait for each other, and the fewest stand somewhere else
        places = Counter((entry.group, entry.seq) for rank in waits for entry in calls.dumps[rank].open[:1])
        fewest = min(places.values())
        odd = {place for place, count in places.items() if count == fewest}
        guilty = {rank for rank in waits if (first := calls.dumps[rank].open[0]) and (first.group, first.seq) in odd}
    held = [rank for rank, others in waits.items() if others & guilty] or list(waits)
    first = min((calls.dumps[rank].open[0] for rank in held), key=lambda entry: entry.created_s)
    where = _where(calls, first, times)
    reason = f"{_named(sorted(guilty))} did not come to {first.op} number {first.seq} of group {first.desc or first.group}"
    return Verdict(HANG, tuple(sorted(guilty)), reason, **where, where=first.line, **about)


def _behind(calls: Calls, times: Mapping[int, float], about: dict[str, Any]) -> Verdict:
    """Everybody has called everything: who has completed less than the others of a group? On GPUs this comes first."""
    guilty = calls.behind()
    first = min((dump.open[0] for dump in calls.dumps.values() if dump.open), key=lambda entry: entry.created_s)
    where = _where(calls, first, times)
    if not guilty:
        return Verdict(
            UNKNOWN, (), "all ranks are in the same collectives, and none is behind", **where, where=first.line, **about
        )
    reason = f"{_named(sorted(guilty))} completed less of a group's collectives than its other ranks"
    return Verdict(HANG, tuple(sorted(guilty)), reason, **where, where=first.line, **about)


def _where(calls: Calls, entry: Entry, times: Mapping[int, float]) -> dict[str, Any]:
    waiting = {rank: one for rank, one in calls.met(entry.group, entry.seq).items() if one.is_open}
    waits = [times[rank] - one.created_s for rank, one in waiting.items()]
    return {
        "collective": entry.op,
        "group": entry.desc if entry.desc not in ("", "undefined") else entry.group,
        "group_ranks": tuple(sorted(calls.members(entry.group))),
        "seq": entry.seq,
        "waiting": tuple(sorted(waiting)),
        "waits_s": round(max(waits), 3) if waits else None,
    }


def _named(ranks: Sequence[int]) -> str:
    """`rank 3`, `ranks 0, 1, 2 and 61 more`."""
    shown = ", ".join(map(str, ranks[:8])) + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}"
