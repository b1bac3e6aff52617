"""Durable save: from the call to bytes that survive a power cut, against the disk itself and against dcp.save."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import disk, peers
from benchmarks.measuring import Comparison, Contestant, Group, Series, best, interleave
from benchmarks.ours import Ours
from benchmarks.subject import Subject, release_memory

OURS, WRITER, DISK = "trainyard, snapshot to commit", "trainyard, writer alone", "disk, write + fsync"
DISK_GOAL, DCP_GOAL = 1.15, 0.7


def run(subject: Subject, folder: Path, repeats: int) -> Group:
    """All contestants in turn, in one process."""
    from trainyard.shard import write_shard

    slot, ours = snapshot_of(subject), Ours(folder / "ours", subject)
    ours.step_without_save()

    def writer_alone(place: Path) -> float:
        place.mkdir()
        started = time.monotonic()
        write_shard(place, 0, 1, slot)
        return time.monotonic() - started

    new_place = functools.partial(in_new_place, folder, itertools.count(), subject.nbytes)
    contestants: dict[str, Contestant] = {
        OURS: lambda: ours.save().durable_s,
        WRITER: new_place(writer_alone),
        DISK: new_place(lambda place: disk.write_and_fsync(place, [slot.header, slot.body])),
    }
    for name, settings in peers.SAVE_WRITERS.items():
        contestants[name] = new_place(functools.partial(peers.save, subject=subject, **settings))
    series = interleave(contestants, repeats)
    ours.close()
    release_memory()
    return judge("durable save", series)


def snapshot_of(subject: Subject):  # type: ignore[no-untyped-def]
    """A filled slot: the very bytes that a save writes."""
    from trainyard import layout, objects
    from trainyard.snapshot import Slot

    tensors, _ = objects.capture({"model": subject.model, "optimizer": subject.optimizer})
    slot = Slot()
    slot.copy(layout.own_pieces(tensors, 0, 1, set()))
    return slot


def in_new_place(folder: Path, numbers: itertools.count[int], state_bytes: int, save: Callable[[Path], float]) -> Contestant:
    """`save` to a path that does not exist yet, and remove what it wrote outside the measured time."""

    def run_once() -> float:
        place = folder / f"save-{next(numbers)}"
        seconds = save(place)
        disk.remove_whole(place, state_bytes)
        return seconds

    return run_once


def judge(title: str, series: dict[str, Series]) -> Group:
    """The goals of a durable save."""
    dcp = best([series[name] for name in peers.SAVE_WRITERS])
    comparisons = [
        Comparison("against the disk", series[OURS], series[DISK], DISK_GOAL),
        *([Comparison("writer against the disk", series[WRITER], series[DISK], DISK_GOAL)] if WRITER in series else []),
        Comparison("against the best dcp.save", series[OURS], dcp, DCP_GOAL),
    ]
    notes = [
        "disk: the same bytes from memory into one new file, 8 MiB a write, fsync",
        "dcp.save: FileSystemWriter with its default sync_files=True (fsync of each file, not of the folder)",
        "trainyard: copy, digests, fsync of shard, state, manifest and their folder, rename, fsync of the parent",
    ]
    return Group(title, list(series.values()), comparisons, notes)
