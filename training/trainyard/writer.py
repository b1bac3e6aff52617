"""The asynchronous writer of one rank: one thread, one snapshot at a time, no collectives."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainyard import checkpoint_format as fmt
from trainyard.commit import Rejected, StepInfo, apply_retention, clean_temporary, commit, wait_for_parts
from trainyard.errors import SaveError, TrainyardError
from trainyard.files import remove_folder
from trainyard.lock import Lock
from trainyard.shard import Part, nonfinite_keys, write_part, write_shard
from trainyard.snapshot import Slot


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

    @property
    def busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def start(self, save: Save) -> None:
        assert not self.busy, "one snapshot at a time"
        self._error = "the writer has not finished"
        self._thread = threading.Thread(target=self._run, args=(save,), name="trainyard-writer", daemon=True)
        self._thread.start()

    def prefault(self, slot: Slot) -> None:
        """Touch the slot's pages beside training."""
        self._thread = threading.Thread(target=slot.prefault, name="trainyard-prefault", daemon=True)
        self._thread.start()

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
        except Rejected as error:
            self._error, rejected = str(error), error.tensors
        except TrainyardError as error:
            self._error = str(error)
        except OSError as error:
            self._error = f"{type(error).__name__}: {error}"
        finally:  # also after an error that nobody expected, whose traceback threading prints
            if self._error is not None:
                self._report(save, rejected)

    def _report(self, save: Save, rejected: list[str]) -> None:
        if save.rank == 0:
            if rejected:
                self._on_event("rejected", step=save.info.step, tensors=rejected[:20])
            else:
                self._on_event("save-failed", step=save.info.step, error=self._error)
            with contextlib.suppress(OSError):  # else the next start of this run removes it
                remove_folder(save.folder)
        print(f"trainyard: rank {save.rank}: step {save.info.step} was not saved: {self._error}", file=sys.stderr, flush=True)


def write_rank(save: Save) -> None:
    """This rank's shard and part, durable. A failure is told to rank 0 in the part, where that can still be written."""
    file, error, nonfinite = None, None, []
    save.folder.mkdir(exist_ok=True)
    try:
        with ThreadPoolExecutor(1, "trainyard-check") as pool:  # reads the memory while the disk is waited for
            check = pool.submit(nonfinite_keys, save.slot, save.parameters)
            file = write_shard(save.folder, save.rank, save.world_size, save.slot)
            nonfinite = check.result()
    except OSError as problem:
        error = f"{type(problem).__name__}: {problem}"
    write_part(save.folder, Part(save.rank, save.lock.incarnation, file, save.tensors, save.rank_state, nonfinite, error))
    if error and save.rank != 0:
        raise SaveError(error)


def commit_all(save: Save, on_event: Callable[..., None]) -> None:
    """Rank 0: merge, commit, retain; tells the events file."""
    parts = wait_for_parts(save.folder, save.world_size, save.lock.incarnation, timeout_s=save.part_timeout_s)
    size = commit(save.folder, parts, save.shared, save.info, save.lock)
    seconds = time.monotonic() - save.taken_at
    on_event("committed", step=save.info.step, seconds=round(seconds, 4), bytes=size, reasons=sorted(save.info.reasons))
    try:
        retain(save, on_event)
    except OSError as error:  # the step is durable and will be found: no reason to call the save failed
        on_event("retention-failed", step=save.info.step, error=f"{type(error).__name__}: {error}")
        print(
            f"trainyard: step {save.info.step} is saved; older ones could not be tidied: {error}", file=sys.stderr, flush=True
        )


def retain(save: Save, on_event: Callable[..., None]) -> None:
    """Rank 0: pointer and tiers, and away with what no tier names."""
    clean_temporary(save.lock.root, before_step=save.info.step)
    root, step = save.lock.root, save.info.step
    removed = apply_retention(root, newest=step, keep_rolling=save.keep_rolling, keep_epochs=save.keep_epochs)
    if removed:
        on_event("removed", steps=removed)


def wait_for_commit(save: Save, *, timeout_s: float) -> str | None:
    """Any rank but 0: until rank 0 has renamed the step into place; the error otherwise."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if _is_committed(save):
            return None
        if not save.folder.exists() and not _is_committed(save):
            return "rank 0 could not commit it"
        time.sleep(0.02)
    return f"rank 0 did not commit it within {timeout_s:.0f} s"


def _is_committed(save: Save) -> bool:
    try:
        manifest = json.loads((save.final / fmt.MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    # A step that is saved again, with its evaluation, has other reasons.
    return bool(manifest["incarnation"] == save.lock.incarnation and manifest["reasons"] == sorted(save.info.reasons))
