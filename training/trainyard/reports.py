"""What a run reports of its training: what a restore found, notes, and a record of each step."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from trainyard.lock import Lock
from trainyard.restoring import Restored
from trainyard.telemetry import Telemetry, as_number

MAX_NOTES = 5


def report_restored(telemetry: Telemetry, found: Restored, folder: Path, lock: Lock, seconds: float) -> None:
    telemetry.event("restored", step=found.step, seconds=round(seconds, 4), requested=found.requested, skipped=found.skipped)
    if found.aside:
        telemetry.event("set-aside", steps=[int(name[5:].split(".")[0]) for name in found.aside], folders=found.aside)
    where = f"restored step {found.step} in {seconds:.2f} s" if found.step else "nothing to restore, step 0"
    telemetry.line(f"{where} from {folder} (run {lock.run_id}, start {lock.incarnation})")
    for entry in found.skipped:
        telemetry.line(f"skipped step {entry['step']}: {entry['reason']}")
    report_notes(telemetry, found.notes, found.step)
    telemetry.begin(found.step, found.requested)
    telemetry.event("training", step=found.step)


def report_notes(telemetry: Telemetry, notes: list[str], step: int) -> None:
    for note in notes[:MAX_NOTES]:
        telemetry.line(f"note: {note}")
    if notes:
        telemetry.event("notes", step=step, notes=notes[:MAX_NOTES], total=len(notes))


class StepRecords:
    """One record a step, with the time that it took and how much of that the saving held."""

    def __init__(self, telemetry: Telemetry, began: float) -> None:
        """`began`: time.monotonic() where the first step began, if nothing is restored."""
        self._telemetry, self._step_ended = telemetry, began
        self.blocked_s = 0.0
        """How long snapshots held the loop since the last record."""
        self.last: dict[str, Any] = {}

    def begin(self) -> None:
        """The first step begins now: a restore is none of its time."""
        self._step_ended = time.monotonic()

    def write(
        self, step: int, *, epoch: int, loss: Any, val_loss: float | None, metrics: dict[str, Any], is_again: bool
    ) -> None:
        now = time.monotonic()
        record: dict[str, Any] = {"step": step, "loss": as_number(loss), "step_s": round(now - self._step_ended, 6)}
        self._step_ended = now
        record["blocked_s"] = round(self.blocked_s, 6)
        self.blocked_s = 0.0
        record.update({key: as_number(value) for key, value in metrics.items()}, val_loss=val_loss, epoch=epoch)
        if is_again:
            record = self._added_to_last(record)
        if isinstance(record["loss"], float) and record["loss"] != record["loss"]:
            self._telemetry.event("nan-loss", step=step)
        self.last = record
        self._telemetry.step(record)

    def _added_to_last(self, record: dict[str, Any]) -> dict[str, Any]:
        """The last line of a step is the one that counts: it has all that was told."""
        told = {key: value for key, value in record.items() if value is not None}
        for key in ("step_s", "blocked_s"):
            told[key] = round(record[key] + self.last.get(key, 0.0), 6)
        return {**self.last, **told}
