"""One rank's saves: a snapshot into memory that is reused, a thread that writes it, and the wait until all ranks have it on disk."""

from __future__ import annotations

import contextlib
import json
import math
import time
from dataclasses import dataclass
from typing import Any

from trainyard import codec, layout, objects, rng
from trainyard.agreement import Agreement
from trainyard.errors import PeerLostError, SaveError, TrainyardError
from trainyard.policy import SavePolicy
from trainyard.resuming import Resume
from trainyard.snapshot import Slot
from trainyard.store import Save, StepInfo, Store
from trainyard.telemetry import Telemetry
from trainyard.writer import Writer

LAST_WRITE_S = 30.0
"""After an exception, a save that is on its way gets this long: what is lost otherwise is an interval of work."""


@dataclass(frozen=True)
class Due:
    """A save that waits until its step is over."""

    reasons: set[str]
    val_loss: float | None
    end_of_epoch: bool
    best_before: float | None
    """The best loss before this step, for one that the next step overtakes."""

    def after(self, earlier: Due | None) -> Due:
        """What was told of this step at first, and now."""
        if earlier is None:
            return self
        val_loss = earlier.val_loss if self.val_loss is None else self.val_loss
        return Due(self.reasons | earlier.reasons, val_loss, self.end_of_epoch or earlier.end_of_epoch, earlier.best_before)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the training stands when it is saved."""

    step: int
    epoch: int
    best_loss: float | None
    config: dict[str, Any]
    data_fingerprint: str | None


class Saver:
    """Owns the slot and the writer; knows what was saved last."""

    def __init__(
        self,
        things: objects.Objects,
        policy: SavePolicy,
        agreement: Agreement,
        telemetry: Telemetry,
        store: Store,
        resume: Resume,
    ) -> None:
        self._things, self._policy, self._agreement = things, policy, agreement
        self._telemetry, self._store, self._resume = telemetry, store, resume
        self._slot, self._writer = Slot(), Writer(store, telemetry.event)
        self.saved_step = 0
        """The step that was saved or restored last."""
        self.last: Save | None = None
        self.rolling_due = False
        self.exchanges = 0
        """Calls that the ranks have exchanged since the last snapshot."""
        self._prefaulted = False

    def is_rolling_due(self, step: int) -> bool:
        """By policy; once due it stays so until a step is saved."""
        every = self._policy.rolling_steps
        self.rolling_due = self.rolling_due or step - self.saved_step >= every
        self.rolling_due = self.rolling_due or (step % every == 0 and step != self.saved_step)
        return self.rolling_due

    @property
    def busy(self) -> bool:
        return self._writer.busy

    def all_idle(self, may_be_busy: bool) -> bool:
        """Every rank's writer is idle, by flags that were posted after the last snapshot began; same answer on every rank.

        `may_be_busy` is what the ranks agreed on; True where they have not yet.
        """
        if self._agreement.world_size == 1:
            return not self.busy
        return not may_be_busy and self.exchanges >= 2

    def prefault(self) -> None:
        """Lay the slot out and touch its pages before the first snapshot needs them; the optimizer has its state by now."""
        if self._prefaulted or self.busy:
            return
        tensors, _ = objects.capture(self._things)
        self._slot.prepare(self._own_pieces(tensors))
        self._writer.prefault(self._slot)
        self._prefaulted = True

    def snapshot(self, due: Due, progress: Progress) -> tuple[float, Save]:
        """Copy the state; returns the seconds that the loop was held, and what the writer is to be started with."""
        started = time.monotonic()
        self._resume.check()
        error = self._writer.wait(self._policy.part_timeout_s)
        if self.busy:  # it still reads the buffer: copying into it now would tear the checkpoint that it writes
            raise SaveError(f"step {progress.step} was not saved: the writer of step {self.saved_step} is {error}")
        tensors, state = objects.capture(self._things)
        pieces = self._own_pieces(tensors)
        self._slot.copy(pieces)
        save = self._save(due, progress, pieces, state)
        self.last, self.saved_step, self.rolling_due = save, progress.step, False
        self.exchanges, self._prefaulted = 0, True
        blocked_s = time.monotonic() - started
        self._telemetry.event("snapshot", step=progress.step, blocked_s=round(blocked_s, 6), reasons=sorted(due.reasons))
        return blocked_s, save

    def _own_pieces(self, tensors: dict[str, Any]) -> list[layout.Piece]:
        rank, world_size = self._agreement.rank, self._agreement.world_size
        return layout.own_pieces(tensors, rank, world_size, objects.buffer_keys(self._things))

    def _save(self, due: Due, progress: Progress, pieces: list[layout.Piece], state: dict[str, Any]) -> Save:
        return Save(
            info=_info(due, progress),
            slot=self._slot,
            rank=self._agreement.rank,
            world_size=self._agreement.world_size,
            tensors=layout.describe(pieces),
            shared={
                "step": progress.step,
                "epoch": progress.epoch,
                "best_loss": progress.best_loss,
                "config": _encoded(progress.config),
                "objects": state,
            },
            rank_state={"rng": codec.encode(rng.capture(), "rng", _no_tensor), **objects.capture_per_rank(self._things)},
            parameters=objects.trainable_keys(self._things),
            taken_at=time.monotonic(),
        )

    def start(self, save: Save) -> None:
        self._writer.start(save)

    def finish_last(self) -> str | None:
        """Wait until the last snapshot is durable on all ranks; its error, None when it is. Collective.

        Rank 0, which commits, says how it ended: on NFS another node may not see the step for a minute. It says so again and
        again while it waits, for the ranks' group gives up a rank that is silent.
        """
        timeout_s = 2 * self._policy.part_timeout_s  # its own writing, then the parts of the others
        deadline, goes_on, error = time.monotonic() + timeout_s, True, None
        while goes_on:
            error = self._writer.wait(min(self._policy.peer_timeout_s / 3, max(0.0, deadline - time.monotonic())))
            goes_on = self.busy and time.monotonic() < deadline
            if self.busy:
                error = f"still writing after {timeout_s:.0f} s"
            try:
                goes_on, error = self._agreement.broadcast([goes_on, error])
            except PeerLostError as lost:
                if self._agreement.rank != 0:
                    return str(lost)
        with contextlib.suppress(PeerLostError):  # nobody leaves, and so closes connections, before all have heard it
            self._agreement.gather("")
        return error

    def save_now(self, due: Due, progress: Progress) -> None:
        """Save this step and wait until it is durable on all ranks. Raises SaveError."""
        if self.saved_step != progress.step or due.reasons & {"best", "epoch"}:
            self.finish_last()
            self.start(self.snapshot(due, progress)[1])
        error = self.finish_last()
        if error:
            older = f"; the older checkpoints in {self._store} stand" if self._holds_steps() else ""
            raise SaveError(f"step {progress.step} was not saved: {error}{older}")

    def what_is_saved(self, step: int) -> str:
        """Of a training that ends after `step` without a save, in words."""
        if self.last is None:
            stand = f". The checkpoints in {self._store} stand" if self._holds_steps() else ""
            return f"which is not saved; it had saved nothing yet{stand}"
        error = self._writer.wait(LAST_WRITE_S)
        if error is None and self.saved_step == step:
            return "which is saved"
        last = f"step {self.saved_step}" + (f", which failed: {error}" if error else "")
        return f"which is not saved; the last save was of {last}. The checkpoints in {self._store} stand"

    def _holds_steps(self) -> bool:
        """Nothing is promised of a place that cannot be read now."""
        try:
            return bool(self._store.durable_steps())
        except OSError:
            return False


def _info(due: Due, progress: Progress) -> StepInfo:
    return StepInfo(
        step=progress.step,
        epoch=progress.epoch,
        end_of_epoch=bool(due.end_of_epoch),
        val_loss=due.val_loss if due.val_loss is not None and math.isfinite(due.val_loss) else None,
        reasons=tuple(sorted(due.reasons)),
        data_fingerprint=progress.data_fingerprint,
    )


def _encoded(config: dict[str, Any]) -> Any:
    """The script's configuration, for the record: what has no form of its own is written as text."""
    return codec.encode(json.loads(json.dumps(config, default=str)), "config", _no_tensor)


def _no_tensor(path: str, tensor: Any) -> None:
    raise TrainyardError(f"{path}: a tensor cannot stand here; keep tensors in objects with a state_dict")
