"""The asynchronous writer of one rank: one thread, one snapshot at a time, into whichever store; no collectives."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from trainyard.errors import TrainyardError
from trainyard.snapshot import Slot
from trainyard.speaking import warn
from trainyard.store import NO_RESOURCE, Rejected, Save, Store, told_problems


class Writer:
    """Runs one job at a time beside the training thread; the slot must not be touched while `busy`."""

    def __init__(self, store: Store, on_event: Callable[..., None]) -> None:
        self._store, self._on_event = store, on_event
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
            self._store.write(save)
            if save.rank == 0:
                self._commit(save)
            self._error = None
            if save.rank == 0:
                self._retain(save.info.step)
        except Rejected as error:
            self._error, rejected = str(error), error.tensors
        except TrainyardError as error:
            self._error = str(error)
        except NO_RESOURCE as error:
            self._error = f"{type(error).__name__}: {error}"
        finally:  # also after an error that nobody expected, whose traceback threading prints
            if self._error is not None:
                self._report(save, rejected)

    def _commit(self, save: Save) -> None:
        size = self._store.commit(save)
        seconds = round(time.monotonic() - save.taken_at, 4)
        self._on_event("committed", step=save.info.step, seconds=seconds, bytes=size, reasons=sorted(save.info.reasons))

    def _retain(self, step: int) -> None:
        """Rank 0. The step is durable and will be found: nothing here fails it."""
        tidied = self._store.retain(step)
        if tidied.removed:
            self._on_event("removed", steps=tidied.removed)
        new = {name: why for name, why in tidied.problems.items() if name not in self._stuck}
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
            self._store.abandon(save)
        warn(f"trainyard: rank {save.rank}: step {save.info.step} was not saved: {self._error}")
