"""Blocked time: how long an asynchronous save holds the training loop, against every variant of dcp.async_save that runs here."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks import disk, peers
from benchmarks.measuring import Comparison, Group, Series, best, progress
from benchmarks.ours import Ours
from benchmarks.subject import Subject, release_memory

OURS, GOAL, STEADY_SAVES = "trainyard", 1.0, 3


class Saver(Protocol):
    def save(self) -> float:
        """Seconds that the loop was held; returns when the save is durable and cleared away."""

    def close(self) -> None: ...


@dataclass
class Held:
    """Seconds of one contestant over all rounds."""

    first_s: list[float] = field(default_factory=list)
    steady_s: list[float] = field(default_factory=list)


def run(subject: Subject, folder: Path, repeats: int) -> Group:
    """Each round opens every contestant afresh: a first save, then some in its steady state.

    One contestant is open at a time, so that a large state needs the memory of one copy beside it.
    """
    peers.join_process_group()
    places = (folder / f"async-{number}" for number in itertools.count())
    savers: dict[str, Callable[[], Saver]] = {OURS: lambda: _Ours(next(places), subject)}
    for name, make in peers.async_peers().items():
        savers[name] = functools.partial(_Peer, make, subject, places)
    held, names = {name: Held() for name in savers}, list(savers)
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            _round(savers[name], held[name])
            first_s, steady_s = held[name].first_s[-1], held[name].steady_s[-1]
            progress(f"  round {turn + 1}/{repeats}: {name}: first {first_s:.4f} s, then {steady_s:.4f} s")
    peers.leave_process_group()
    return _judge(held)


def _round(make: Callable[[], Saver], held: Held) -> None:
    release_memory()
    saver = make()
    held.first_s.append(saver.save())
    held.steady_s += [saver.save() for _ in range(STEADY_SAVES)]
    saver.close()


class _Ours:
    """A loop whose first step does not save, as in a job that saves every few hundred steps."""

    def __init__(self, place: Path, subject: Subject) -> None:
        self._ours = Ours(place, subject)
        self._ours.step_without_save()

    def save(self) -> float:
        return self._ours.save().blocked_s

    def close(self) -> None:
        self._ours.close()
        disk.remove(self._ours.folder)


class _Peer:
    def __init__(self, make: Callable[[Subject], peers.AsyncPeer], subject: Subject, places: Iterator[Path]) -> None:
        self._peer, self._places, self._state_bytes = make(subject), places, subject.nbytes

    def save(self) -> float:
        place = next(self._places)
        blocked_s, wait = self._peer.save(place)
        wait()
        disk.remove_whole(place, self._state_bytes)
        return blocked_s

    def close(self) -> None:
        self._peer.close()


def _judge(held: dict[str, Held]) -> Group:
    first = [Series(f"{name}: first", tuple(each.first_s)) for name, each in held.items()]
    steady = [Series(f"{name}: steady", tuple(each.steady_s)) for name, each in held.items()]
    comparisons = [
        Comparison("steady, against the best dcp.async_save", steady[0], best(steady[1:]), GOAL),
        Comparison("first, against the best dcp.async_save", first[0], best(first[1:]), GOAL),
    ]
    notes = [
        "blocked: the time that ck.step() or dcp.async_save() takes, or until staging is complete and the state may change again",
        "first: new memory for every contestant; trainyard makes its own ready beside the first step, one that does not save",
    ]
    absent = sorted(set(peers.PINNED_PEERS) - set(held))
    if absent:
        notes.append(f"not measured, no CUDA here: {'; '.join(absent)}")
    return Group("blocked time of an asynchronous save", steady + first, comparisons, notes)
