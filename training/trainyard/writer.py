"""The asynchronous writer of one rank: one thread, one snapshot at a time, no collectives."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainyard import checkpoint_format as fmt
from trainyard.commit import (
    Rejected,
    StepInfo,
    apply_retention,
    clean_temporary,
    commit,
    told_problems,
    wait_for_parts,
)
from trainyard.errors import SaveError, TrainyardError
from trainyard.files import make_folder, remove_folder
from trainyard.lock import Lock
from trainyard.patience import told
from trainyard.shard import Part, nonfinite_keys, write_part, write_shard
from trainyard.snapshot import Slot
from trainyard.speaking import warn

NO_RESOURCE = (OSError, MemoryError, RuntimeError)
"""No disk, no memory, no thread (a RuntimeError): the save fails, and the others learn it at once."""


@dataclass(frozen=True, kw_only=True)
class Save:
    """One snapshot on its way to the disk."""

    info: StepInfo
    lock: Lock
    slot: Slot
    rank: int
    world_size: int
    tensors: dict[str, dict[str, Any]]
    shared: dict[str, Any]
    rank_state: dict[str, Any]
    parameters: set[str]
    keep_rolling: int
    keep_epochs: int
    part_timeout_s: float
    taken_at: float
    """time.monotonic() when the copy was complete."""

    @property
    def folder(self) -> Path:
        return self.lock.root / fmt.temporary_name(self.info.step, self.lock.incarnation)

    @property
    def final(self) -> Path:
        return self.lock.root / fmt.step_name(self.info.step)


class Writer:
    """Runs one job at a time beside the training thread; the slot must not be touched while `busy`."""

    def __init__(self, on_event: Callable[..., None]) -> None:
        self._on_event = on_event
        self._thread: threading.Thread | None = None
        self._error: str | None = None
        self._stuck: set[str] = set()
        """Names that could not be tidied up, and have been reported."""

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, save: Save) -> None:
        assert not self.busy, "one snapshot at a time"
        self._error = "the writer has not finished"
        self._thread = threading.Thread(target=self._run, args=(save,), name="trainyard-writer", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:  # no thread to be had: this save fails alone, as on a full disk
            self._error, self._thread = str(error), None
            self._report(save, [])

    def prefault(self, slot: Slot) -> None:
        """Touch the slot's pages beside training."""
        self._thread = threading.Thread(target=slot.prefault, name="trainyard-prefault", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had: the first snapshot will touch them
            self._thread = None

    def wait(self, timeout_s: float) -> str | None:
        """Wait for the job; returns its error, None when it succeeded."""
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                return f"still writing after {timeout_s:.0f} s"
        return self._error

    def _run(self, save: Save) -> None:
        rejected: list[str] = []
        try:
            write_rank(save)
            if save.rank == 0:
                commit_all(save, self._on_event)
            self._error = None
            if save.rank == 0:
                self._retain(save)
        except Rejected as error:
            self._error, rejected = str(error), error.tensors
        except TrainyardError as error:
            self._error = str(error)
        except NO_RESOURCE as error:
            self._error = f"{type(error).__name__}: {error}"
        finally:  # also after an error that nobody expected, whose traceback threading prints
            if self._error is not None:
                self._report(save, rejected)

    def _retain(self, save: Save) -> None:
        """Rank 0: pointer and tiers, and away with what no tier names. The step is durable and will be found: nothing here fails it."""
        root, step = save.lock.root, save.info.step
        try:
            problems = clean_temporary(root, before_step=step)
            removed, others = apply_retention(root, newest=step, keep_rolling=save.keep_rolling, keep_epochs=save.keep_epochs)
            problems |= others
        except OSError as error:
            removed, problems = [], {str(root): told(error)}
        if removed:
            self._on_event("removed", steps=removed)
        problems = {
            name.removesuffix(".removed.tmp"): why for name, why in problems.items()
        }  # as its removal began to rename it
        new = {name: why for name, why in problems.items() if name not in self._stuck}
        self._stuck |= new.keys()
        if new:
            self._on_event("retention-failed", step=step, error=told_problems(new))
            warn(f"trainyard: step {step} is saved; older ones could not be tidied: {told_problems(new)}")

    def _report(self, save: Save, rejected: list[str]) -> None:
        if save.rank == 0:
            if rejected:
                self._on_event("rejected", step=save.info.step, tensors=rejected[:20])
            else:
                self._on_event("save-failed", step=save.info.step, error=self._error)
            with contextlib.suppress(OSError):  # else the next start of this run removes it
                remove_folder(save.folder)
        warn(f"trainyard: rank {save.rank}: step {save.info.step} was not saved: {self._error}")


def write_rank(save: Save) -> None:
    """This rank's shard and part, durable. A failure is told to rank 0 in the part, where that can still be written."""
    file, error, nonfinite = None, None, []
    make_folder(save.folder)
    try:
        with ThreadPoolExecutor(1, "trainyard-check") as pool:  # reads the memory while the disk is waited for
            check = pool.submit(nonfinite_keys, save.slot, save.parameters)
            file = write_shard(save.folder, save.rank, save.world_size, save.slot)
            nonfinite = check.result()
    except NO_RESOURCE as problem:
        error = f"{type(problem).__name__}: {problem}"
    write_part(save.folder, Part(save.rank, save.lock.incarnation, file, save.tensors, save.rank_state, nonfinite, error))
    if error and save.rank != 0:
        raise SaveError(error)


def commit_all(save: Save, on_event: Callable[..., None]) -> None:
    """Rank 0: merge and commit; tells the events file."""
    parts = wait_for_parts(save.folder, save.world_size, save.lock.incarnation, timeout_s=save.part_timeout_s)
    size = commit(save.folder, parts, save.shared, save.info, save.lock)
    seconds = time.monotonic() - save.taken_at
    on_event("committed", step=save.info.step, seconds=round(seconds, 4), bytes=size, reasons=sorted(save.info.reasons))
