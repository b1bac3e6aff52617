"""The face of the runtime: three calls in a training script.

ck = trainyard.Checkpointer(model=model, optimizer=optimizer, scheduler=scheduler, data=order)
step = ck.restore()                    # newest verified step, or 0
while step < steps:
    ...
    step += 1
    ck.step(step, loss=loss)           # snapshot by policy; on an agreed stop: persists, then exits 143
ck.close()
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from trainyard import codec, ddp_order, given, objects, refusals, selfcheck
from trainyard.agreement import Agreement, Call
from trainyard.aside import Aside
from trainyard.deciding import Dues
from trainyard.errors import ConfigError, SaveError
from trainyard.flight import dump_when_asked
from trainyard.loop import Loop
from trainyard.policy import SavePolicy
from trainyard.process import leave_after_gloo
from trainyard.rank_pace import RankPace
from trainyard.reports import StepRecords, report_notes, report_restored
from trainyard.resuming import Resume
from trainyard.saving import Due, Progress, Saver
from trainyard.signals import STOP_EXIT_CODE, StopSignals
from trainyard.speaking import guard, warn
from trainyard.stacks import print_when_asked
from trainyard.starting import claim_folder, open_store, report_start
from trainyard.store import Save
from trainyard.telemetry import Telemetry, as_number
from trainyard.trainer_status import TrainerStatus

if TYPE_CHECKING:
    import torch

STOP, BUSY = 0, 1


class Checkpointer:
    """Saves and restores the complete state of a training loop; every rank has one, and calls it in the same order.

    Keyword objects are modules, optimizers, or anything with `state_dict` and `load_state_dict`. `folder` None means
    TRAINYARD_CHECKPOINTS, else ./checkpoints; `policy` None means the job file's. `data=None` says that the data has no place to keep. `tensorboard` and `wandb` ("offline" or
    "online") draw curves beside the run folder's own files. Constructing it takes the folder's lock and is collective. Raises
    FolderError when a folder cannot be used, ConfigError when a chart that is asked for cannot be had; then nothing is kept: lock,
    signals and charts are given back.

    As a context manager it closes itself; an exception passes through, with nothing saved and nothing called finished.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        policy: SavePolicy | None = None,
        config: dict[str, Any] | None = None,
        total_steps: int | None = None,
        data_fingerprint: str | None = None,
        tensorboard: bool = False,
        wandb: str | None = None,
        **things: Any,
    ) -> None:
        guard()
        leave_after_gloo()
        if data_fingerprint is not None and not isinstance(data_fingerprint, str):
            raise ConfigError("data_fingerprint must be text: trainyard.data_fingerprint(file) makes one")
        print_when_asked()
        dump_when_asked()
        self.folder = default_folder(folder)
        self.policy = policy or SavePolicy.from_environment()
        self.config, self.total_steps, self.data_fingerprint = config or {}, total_steps, data_fingerprint
        self.epoch, self.best_loss, self.saved_config = 0, None, None
        self._things: objects.Objects = given.resolve(things)
        refusals.check_objects(self._things)
        self._step, self._checked = 0, False
        began = time.monotonic()
        with contextlib.ExitStack() as held:  # whatever fails from here on: what was taken so far is given back
            self._signals = StopSignals()
            held.callback(self._signals.restore)
            self._agreement = Agreement(timeout_s=self.policy.peer_timeout_s)
            held.callback(self._agreement.close)
            self.rank, self.world_size = self._agreement.rank, self._agreement.world_size
            ddp_order.settle(self._things.values())
            run_dir = os.environ.get("TRAINYARD_RUN_DIR")
            folder_of_run = Path(run_dir) if run_dir else None
            self._telemetry = Telemetry(folder_of_run, enabled=self.rank == 0)
            held.callback(self._telemetry.close)
            aside = Aside()
            self._status = TrainerStatus(aside, self.total_steps, None if self.rank == 0 else {})
            self._pace = RankPace(folder_of_run, self.rank, self.world_size, self._things.values(), aside)
            held.callback(self._pace.close)
            self._records = StepRecords(self._telemetry, began)
            open_charts = functools.partial(
                self._telemetry.open_charts, tensorboard=tensorboard, wandb=wandb, config=self.config
            )
            self._claim = claim_folder(self.folder, self.policy.patience, self._agreement, held, open_charts)
            self._telemetry.incarnation = self._pace.incarnation = self._claim.lock.incarnation
            self._store = open_store(self.folder, self.policy, self._claim)
            self._resume = Resume(self._store, self._things, self._agreement, self._claim)
            self._saver = Saver(self._things, self.policy, self._agreement, self._telemetry, self._store, self._resume)
            self._dues = Dues(self._saver)
            self._loop = Loop(self._things, self._end_step, self._telemetry.line)
            held.callback(self._loop.release)
            report_start(self._telemetry, self._agreement, self.total_steps)
            if not given.keeps_place(things):
                self._telemetry.line(f"warning: {given.NO_DATA}")
            self._held = held.pop_all()

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """`close()`, or after an exception what a crash leaves, said in words: nothing more is saved, nothing is called finished."""
        if kind is None:
            self.close()
        elif not self._is_closed:
            saved = self._saver.what_is_saved(self._step)
            warn(f"trainyard: rank {self.rank}: {kind.__name__} ended this start after step {self._step}, {saved}")
            self._release(finished=False)

    _is_closed = False
    best_loss: float | None
    saved_config: dict[str, Any] | None

    # --- restore -------------------------------------------------------------------------------------------------

    def restore(self, which: str = "latest") -> int:
        """Bring every object to a saved step and return it; 0 when there is nothing to restore. Collective.

        `latest` steps down to the newest checkpoint that verifies on every rank; `best`, `epoch:N` and `step:N` are exact; `none`
        trains from the beginning. An explicit choice holds for the first start of a run. Raises RestoreError, MismatchError.
        """
        started = time.monotonic()
        found = self._resume.restore(which, self.data_fingerprint)
        self._step = self._saver.saved_step = found.step
        self._dues.due = None
        self._loop.restored(found.step)
        self.epoch = found.shared.get("epoch", 0)
        self.best_loss = found.shared.get("best_loss")
        self.saved_config = codec.decode(found.shared.get("config"), dict[str, Any]().__getitem__)
        report_restored(self._telemetry, found, self.folder, self._claim.lock, time.monotonic() - started)
        self._records.begin()
        self._pace.restart()
        return found.step

    # --- every step ----------------------------------------------------------------------------------------------

    def step(
        self,
        step: int,
        *,
        loss: Any = None,
        val_loss: Any = None,
        epoch: int | None = None,
        end_of_epoch: bool = False,
        **metrics: Any,
    ) -> None:
        """Tell that optimizer step `step` (counted from 1) is done, with its metrics. Collective.

        Saves by policy: rolling, at the end of an epoch, and when `val_loss` is the least so far. When any rank was asked to
        stop, all ranks save this step and exit with 143. With a ResumableLoader both happen where the loop asks for the next
        batch, so what the script does until then is in it. The same step may be told again, with its evaluation.
        """
        self._pace.arrived(step)
        self._resume.check()
        self._signals.keep()
        flags = [int(self._signals.received is not None), int(self._saver.busy)]
        call = Call(step=step, val_loss=val_loss is not None, end_of_epoch=end_of_epoch)
        agreed = self._agreement.exchange(flags, call)
        self._saver.exchanges += 1
        if not self._checked:
            report_notes(self._telemetry, selfcheck.check(self._things, self._agreement), self._step)
            self._checked = True
        is_again = step == self._step
        if not is_again:
            self.best_loss = self._dues.overtake(self.best_loss)
            self._loop.next_step()
        self._step = step
        self.epoch = self._loop.epoch(self.epoch) if epoch is None else int(epoch)
        val_loss = None if val_loss is None else self._agreement.broadcast_float(float(as_number(val_loss)))
        is_stop, may_be_busy = (False, True) if agreed is None else (bool(agreed[STOP]), bool(agreed[BUSY]))
        told = Due({"stop"} if is_stop else set(), val_loss, end_of_epoch, best_before=self.best_loss)
        self.best_loss = self._dues.add(step, told, may_be_busy=may_be_busy)
        is_now = not self._loop.in_turn and not is_stop
        save = self._snapshot_due() if is_now else None
        self._records.write(step, epoch=self.epoch, loss=loss, val_loss=val_loss, metrics=metrics, is_again=is_again)
        self._status.tell(step, self._records.last)
        if save:  # after the step's line: a restart from this checkpoint does not tell the step again
            self._saver.start(save)
        elif not self._loop.in_turn:
            self._end_step()
        self._pace.begin()

    def _end_step(self) -> None:
        """The step is over: what is due of it is saved."""
        if self._dues.due is not None and "stop" in self._dues.due.reasons:
            self._stop(self._dues.due)
        if save := self._snapshot_due():
            self._saver.start(save)
        self._pace.asks_for_batch()

    def _snapshot_due(self) -> Save | None:
        due = self._dues.take()
        if due is None:
            return None
        blocked_s, save = self._saver.snapshot(due, self._progress())
        self._records.blocked_s += blocked_s
        return save

    def _progress(self) -> Progress:
        return Progress(
            step=self._step,
            epoch=self.epoch,
            best_loss=self.best_loss,
            config=self.config,
            data_fingerprint=self.data_fingerprint,
        )

    def log_event(self, type: str, **fields: Any) -> None:
        """A line of the script's own in events.jsonl (rank 0; elsewhere nothing)."""
        self._telemetry.event(type, **fields)

    def log_text(self, tag: str, text: str) -> None:
        """A text in the charts at this step (rank 0; elsewhere, and without charts, nothing)."""
        self._telemetry.text(tag, text, self._step)

    def log_histogram(self, tag: str, values: torch.Tensor) -> None:
        """The distribution of `values` in the charts at this step (rank 0; elsewhere, and without charts, nothing)."""
        self._telemetry.histogram(tag, values, self._step)

    # --- the end -------------------------------------------------------------------------------------------------

    def _stop(self, due: Due) -> NoReturn:
        self._telemetry.event("stopping", step=self._step, signal=self._signals.received)
        try:
            self._saver.save_now(due, self._progress())
            self._telemetry.line(f"asked to stop: step {self._step} is saved, exit {STOP_EXIT_CODE}")
        except SaveError as error:
            warn(f"trainyard: {error}")
        self._release(finished=False)
        sys.exit(STOP_EXIT_CODE)

    def close(self, *, finished: bool | None = None) -> None:
        """Save the last step and wait until it is durable. Collective. Raises SaveError when it is not.

        `finished` None means that the run is finished if it has done `total_steps`; True is for a script that ends early on
        purpose. Whatever fails, lock, signals and charts are given back. A second call does nothing.
        """
        if self._is_closed:
            return
        is_finished = False
        try:
            is_finished = self._close(finished)
        finally:
            self._release(finished=is_finished)

    def _close(self, finished: bool | None) -> bool:
        if finished is None:
            finished = self.total_steps is None or self._step >= self.total_steps
        self._agreement.exchange([0, 0], Call(step=self._step, close=True))
        due = self._dues.take() or Due(set(), None, False, self.best_loss)
        if "stop" in due.reasons and not finished:
            self._stop(due)
        if self._step:
            due = dataclasses.replace(due, reasons=due.reasons | {"final" if finished else "stop"})
            self._saver.save_now(due, self._progress())
        if self._step and finished and self.rank == 0:
            with contextlib.suppress(OSError):  # what is lost is the step's place in the list, not the step
                self._store.mark_final(self._step)
        if self._records.last:  # this start has trained; one that found the work done already has nothing new to tell
            self._telemetry.result(self.config, {"best_val_loss": self.best_loss, **self._records.last}, self._step)
        return finished

    def _release(self, *, finished: bool) -> None:
        """Give back the lock, the charts, the ranks' group and the signals, whatever fails in between; once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._telemetry.event("closed", step=self._step, finished=finished)
        self._status.end(self._step, self._records.last, finished=finished)
        self._held.close()


def default_folder(folder: str | Path | None) -> Path:
    """The checkpoint folder: as given, else TRAINYARD_CHECKPOINTS, else ./checkpoints."""
    return Path(folder or os.environ.get("TRAINYARD_CHECKPOINTS") or "checkpoints").absolute()
