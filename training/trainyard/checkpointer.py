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
import json
import math
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from trainyard import codec, ddp_order, given, layout, objects, refusals, restoring, rng, selfcheck
from trainyard.agreement import Agreement, Call
from trainyard.commit import StepInfo, clean_temporary, mark_final, told_problems
from trainyard.errors import ConfigError, FolderError, MismatchError, PeerLostError, RestoreError, SaveError, TrainyardError
from trainyard.lock import Lock, take
from trainyard.loop import Due, Loop
from trainyard.policy import SavePolicy
from trainyard.process import leave_after_gloo, process_started
from trainyard.signals import STOP_EXIT_CODE, StopSignals
from trainyard.snapshot import Slot
from trainyard.speaking import guard, warn
from trainyard.stacks import print_when_asked
from trainyard.telemetry import Telemetry, as_number
from trainyard.writer import Save, Writer

if TYPE_CHECKING:
    import torch

STOP, BUSY = 0, 1
MAX_NOTES = 5
LAST_WRITE_S = 30.0
"""After an exception, a save that is on its way gets this long: what is lost otherwise is an interval of work."""


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
        self.folder = default_folder(folder)
        self.policy = policy or SavePolicy.from_environment()
        self.config, self.total_steps, self.data_fingerprint = config or {}, total_steps, data_fingerprint
        self.epoch, self.best_loss, self.saved_config = 0, None, None
        self._things: objects.Objects = given.resolve(things)
        refusals.check_objects(self._things)
        self._slot, self._last_save = Slot(), None
        self._step, self._saved_step, self._rolling_due = 0, 0, False
        self._last_record: dict[str, Any] = {}
        self._exchanges_since_save = 0
        self._prefaulted = self._checked = False
        self._failed_restore: TrainyardError | None = None
        self._step_ended = time.monotonic()
        self._due: Due | None = None
        self._blocked_s = 0.0
        with contextlib.ExitStack() as held:  # whatever fails from here on: what was taken so far is given back
            self._signals = StopSignals()
            held.callback(self._signals.restore)
            self._agreement = Agreement(timeout_s=self.policy.peer_timeout_s)
            held.callback(self._agreement.close)
            self.rank, self.world_size = self._agreement.rank, self._agreement.world_size
            ddp_order.settle(self._things.values())
            run_dir = os.environ.get("TRAINYARD_RUN_DIR")
            self._telemetry = Telemetry(Path(run_dir) if run_dir else None, enabled=self.rank == 0)
            held.callback(self._telemetry.close)
            self._lock = self._take_lock(held, tensorboard=tensorboard, wandb=wandb)
            self._telemetry.incarnation = self._lock.incarnation
            self._writer = Writer(self._telemetry.event)
            self._loop = Loop(self._things, self._end_step, self._telemetry.line)
            held.callback(self._loop.release)
            self._tell_start()
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
            warn(
                f"trainyard: rank {self.rank}: {kind.__name__} ended this start after step {self._step}, {self._what_is_saved()}"
            )
            self._release(finished=False)

    def _what_is_saved(self) -> str:
        if self._last_save is None:
            return f"which is not saved; it had saved nothing yet. The checkpoints in {self.folder} stand"
        error = self._writer.wait(LAST_WRITE_S)
        if error is None and self._saved_step == self._step:
            return "which is saved"
        last = f"step {self._saved_step}" + (f", which failed: {error}" if error else "")
        return f"which is not saved; the last save was of {last}. The checkpoints in {self.folder} stand"

    _last_save: Save | None
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
        request = self._agreement.broadcast(restoring.effective_request(which, self._lock))
        found = self._restore(request)
        # Nobody trains, and so saves, before rank 0 has cleared the way; a failure there is raised on every rank.
        found.aside = restoring.on_rank_0(self._agreement, lambda: self._clear_the_way(request, found))
        self._step = self._saved_step = found.step
        self._due = None
        self._loop.restored(found.step)
        self.epoch = found.shared.get("epoch", 0)
        self.best_loss = found.shared.get("best_loss")
        self.saved_config = codec.decode(found.shared.get("config"), dict[str, Any]().__getitem__)
        self._tell_restored(found, time.monotonic() - started)
        return found.step

    def _restore(self, request: str) -> restoring.Restored:
        """After a restore that failed nothing may be trained or saved: objects hold half of a state, or steps of another model are here."""
        before, self._failed_restore = self._failed_restore, RestoreError("restore() did not end")
        try:
            found = restoring.restore(
                self.folder, request, self._things, self._agreement, self.data_fingerprint, self.policy.patience
            )
        except TrainyardError as error:
            self._failed_restore = error
            raise
        self._failed_restore = before if isinstance(before, restoring.PartlyRestoredError) and not found.step else None
        return found

    def _check_restored(self) -> None:
        if self._failed_restore is not None:
            raise MismatchError(f"the restore failed, so this process must not train on ({self._failed_restore})")

    def _clear_the_way(self, request: str, found: restoring.Restored) -> list[str]:
        """Rank 0: newer steps aside, an explicit choice into the lock; returns the folders set aside."""
        damaged = {entry["step"] for entry in found.skipped}
        aside = restoring.set_newer_aside(self.folder, found.step, self._lock.incarnation, damaged)
        if request != "latest":
            self._lock = self._lock.with_origin({"requested": request, "step": found.step})
        return aside

    def _tell_restored(self, found: restoring.Restored, seconds: float) -> None:
        tell = self._telemetry
        tell.event("restored", step=found.step, seconds=round(seconds, 4), requested=found.requested, skipped=found.skipped)
        if found.aside:
            tell.event("set-aside", steps=[int(name[5:].split(".")[0]) for name in found.aside], folders=found.aside)
        where = f"restored step {found.step} in {seconds:.2f} s" if found.step else "nothing to restore, step 0"
        tell.line(f"{where} from {self.folder} (run {self._lock.run_id}, start {self._lock.incarnation})")
        for entry in found.skipped:
            tell.line(f"skipped step {entry['step']}: {entry['reason']}")
        self._tell_notes(found.notes)
        tell.begin(found.step, found.requested)
        tell.event("training", step=found.step)
        self._step_ended = time.monotonic()

    def _tell_notes(self, notes: list[str]) -> None:
        for note in notes[:MAX_NOTES]:
            self._telemetry.line(f"note: {note}")
        if notes:
            self._telemetry.event("notes", step=self._step, notes=notes[:MAX_NOTES], total=len(notes))

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
        self._check_restored()
        flags = [int(self._signals.received is not None), int(self._writer.busy)]
        call = Call(step=step, val_loss=val_loss is not None, end_of_epoch=end_of_epoch)
        agreed = self._agreement.exchange(flags, call)
        self._exchanges_since_save += 1
        if not self._checked:
            self._tell_notes(selfcheck.check(self._things, self._agreement))
            self._checked = True
        is_again = step == self._step
        if not is_again:
            self._overtake()
            self._loop.next_step()
        self._step = step
        self.epoch = self._loop.epoch(self.epoch) if epoch is None else int(epoch)
        best_before = self.best_loss if self._due is None else self._due.best_before
        val_loss = None if val_loss is None else self._agreement.broadcast_float(float(as_number(val_loss)))
        reasons = self._reasons(val_loss, end_of_epoch)
        if agreed is not None and agreed[STOP]:
            reasons.add("stop")
        if self._due is not None or reasons - {"rolling"} or (reasons and self._all_idle(agreed)):
            self._due = Due(reasons, val_loss, end_of_epoch, best_before).after(self._due)
        elif not self._prefaulted and not self._writer.busy:
            self._prefault()
        is_now = not self._loop.in_turn and "stop" not in reasons
        save = self._snapshot_due() if is_now else None
        self._record(loss, val_loss, metrics, is_again)
        if save:  # after the step's line: a restart from this checkpoint does not tell the step again
            self._writer.start(save)
        elif not self._loop.in_turn:
            self._end_step()

    def _end_step(self) -> None:
        """The step is over: what is due of it is saved."""
        if self._due is not None and "stop" in self._due.reasons:
            self._stop(self._due)
        if save := self._snapshot_due():
            self._writer.start(save)

    def _snapshot_due(self) -> Save | None:
        due, self._due = self._due, None
        if due is None:
            return None
        blocked_s, save = self._snapshot(due.reasons, due.val_loss, due.end_of_epoch)
        self._blocked_s += blocked_s
        return save

    def _overtake(self) -> None:
        """A next step is done, and what the last one should have saved is no more: a loop that takes several steps on a batch."""
        if self._due is not None:
            self._rolling_due, self.best_loss, self._due = True, self._due.best_before, None

    def _reasons(self, val_loss: float | None, end_of_epoch: bool) -> set[str]:
        self._rolling_due = self._rolling_due or self._step - self._saved_step >= self.policy.rolling_steps
        is_due = self._rolling_due or (self._step % self.policy.rolling_steps == 0 and self._step != self._saved_step)
        reasons = {"rolling"} if is_due else set()
        self._rolling_due = is_due
        if end_of_epoch:
            reasons.add("epoch")
        if val_loss is not None and math.isfinite(val_loss) and (self.best_loss is None or val_loss < self.best_loss):
            self.best_loss = val_loss
            reasons.add("best")
        return reasons

    def _all_idle(self, agreed: list[int] | None) -> bool:
        """Every rank's writer is idle, by flags that were posted after the last snapshot began; same answer on every rank."""
        if self.world_size == 1:
            return not self._writer.busy
        return agreed is not None and not agreed[BUSY] and self._exchanges_since_save >= 2

    def _record(self, loss: Any, val_loss: float | None, metrics: dict[str, Any], is_again: bool) -> None:
        now = time.monotonic()
        record: dict[str, Any] = {"step": self._step, "loss": as_number(loss), "step_s": round(now - self._step_ended, 6)}
        self._step_ended = now
        record["blocked_s"] = round(self._blocked_s, 6)
        self._blocked_s = 0.0
        record.update({key: as_number(value) for key, value in metrics.items()}, val_loss=val_loss, epoch=self.epoch)
        if is_again:  # the last line of a step is the one that counts: it has all that was told
            told = {key: value for key, value in record.items() if value is not None}
            told["step_s"] = round(record["step_s"] + self._last_record.get("step_s", 0.0), 6)
            told["blocked_s"] = round(record["blocked_s"] + self._last_record.get("blocked_s", 0.0), 6)
            record = {**self._last_record, **told}
        if isinstance(record["loss"], float) and record["loss"] != record["loss"]:
            self._telemetry.event("nan-loss", step=self._step)
        self._last_record = record
        self._telemetry.step(record)

    def log_event(self, type: str, **fields: Any) -> None:
        """A line of the script's own in events.jsonl (rank 0; elsewhere nothing)."""
        self._telemetry.event(type, **fields)

    def log_text(self, tag: str, text: str) -> None:
        """A text in the charts at this step (rank 0; elsewhere, and without charts, nothing)."""
        self._telemetry.text(tag, text, self._step)

    def log_histogram(self, tag: str, values: torch.Tensor) -> None:
        """The distribution of `values` in the charts at this step (rank 0; elsewhere, and without charts, nothing)."""
        self._telemetry.histogram(tag, values, self._step)

    # --- saving --------------------------------------------------------------------------------------------------

    def _snapshot(self, reasons: set[str], val_loss: float | None, end_of_epoch: bool) -> tuple[float, Save]:
        """Copy the state; returns the seconds that the loop was held, and what the writer is to be started with."""
        started = time.monotonic()
        self._check_restored()
        error = self._writer.wait(self.policy.part_timeout_s)
        if self._writer.busy:  # it still reads the buffer: copying into it now would tear the checkpoint that it writes
            raise SaveError(f"step {self._step} was not saved: the writer of step {self._saved_step} is {error}")
        tensors, state = objects.capture(self._things)
        on_rank_0 = objects.buffer_keys(self._things)
        pieces = layout.own_pieces(tensors, self.rank, self.world_size, on_rank_0)
        self._slot.copy(pieces)
        info = StepInfo(
            step=self._step,
            epoch=self.epoch,
            end_of_epoch=bool(end_of_epoch),
            val_loss=val_loss if val_loss is not None and math.isfinite(val_loss) else None,
            reasons=tuple(sorted(reasons)),
            data_fingerprint=self.data_fingerprint,
        )
        save = Save(
            info=info,
            lock=self._lock,
            slot=self._slot,
            rank=self.rank,
            world_size=self.world_size,
            tensors=layout.describe(pieces),
            shared={
                "step": self._step,
                "epoch": self.epoch,
                "best_loss": self.best_loss,
                "config": self._config(),
                "objects": state,
            },
            rank_state={"rng": codec.encode(rng.capture(), "rng", _no_tensor), **objects.capture_per_rank(self._things)},
            parameters=objects.trainable_keys(self._things),
            keep_rolling=self.policy.keep_rolling,
            keep_epochs=self.policy.keep_epochs,
            part_timeout_s=self.policy.part_timeout_s,
            taken_at=time.monotonic(),
        )
        self._last_save, self._saved_step, self._rolling_due = save, self._step, False
        self._exchanges_since_save, self._prefaulted = 0, True
        blocked_s = time.monotonic() - started
        self._telemetry.event("snapshot", step=self._step, blocked_s=round(blocked_s, 6), reasons=sorted(reasons))
        return blocked_s, save

    def _prefault(self) -> None:
        """Lay the slot out and touch its pages before the first snapshot needs them; the optimizer has its state by now."""
        tensors, _ = objects.capture(self._things)
        self._slot.prepare(layout.own_pieces(tensors, self.rank, self.world_size, objects.buffer_keys(self._things)))
        self._writer.prefault(self._slot)
        self._prefaulted = True

    def _config(self) -> Any:
        """The script's configuration, for the record: what has no form of its own is written as text."""
        return codec.encode(json.loads(json.dumps(self.config, default=str)), "config", _no_tensor)

    def _finish_last(self) -> str | None:
        """Wait until the last snapshot is durable on all ranks; its error, None when it is. Collective.

        Rank 0, which commits, says how it ended: on NFS another node may not see the step for a minute. It says so again and
        again while it waits, for the ranks' group gives up a rank that is silent.
        """
        timeout_s = 2 * self.policy.part_timeout_s  # its own writing, then the parts of the others
        deadline, goes_on, error = time.monotonic() + timeout_s, True, None
        while goes_on:
            error = self._writer.wait(min(self.policy.peer_timeout_s / 3, max(0.0, deadline - time.monotonic())))
            goes_on = self._writer.busy and time.monotonic() < deadline
            if self._writer.busy:
                error = f"still writing after {timeout_s:.0f} s"
            try:
                goes_on, error = self._agreement.broadcast([goes_on, error])
            except PeerLostError as lost:
                if self.rank != 0:
                    return str(lost)
        with contextlib.suppress(PeerLostError):  # nobody leaves, and so closes connections, before all have heard it
            self._agreement.gather("")
        return error

    def _save_now(self, reasons: set[str], val_loss: float | None = None, end_of_epoch: bool = False) -> None:
        """Save this step and wait until it is durable on all ranks. Raises SaveError."""
        if self._saved_step != self._step or reasons & {"best", "epoch"}:
            self._finish_last()
            self._writer.start(self._snapshot(reasons, val_loss, end_of_epoch)[1])
        error = self._finish_last()
        if error:
            raise SaveError(f"step {self._step} was not saved: {error}; the older checkpoints in {self.folder} stand")

    def _stop(self, due: Due) -> NoReturn:
        self._telemetry.event("stopping", step=self._step, signal=self._signals.received)
        try:
            self._save_now(due.reasons, due.val_loss, due.end_of_epoch)
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
        due, self._due = self._due or Due(set(), None, False, self.best_loss), None
        if "stop" in due.reasons and not finished:
            self._stop(due)
        if self._step:
            self._save_now(due.reasons | {"final" if finished else "stop"}, due.val_loss, due.end_of_epoch)
        if self._step and finished and self.rank == 0:
            with contextlib.suppress(OSError):  # what is lost is the step's place in the list, not the step
                mark_final(self.folder, self._step)
        if self._last_record:  # this start has trained; one that found the work done already has nothing new to tell
            self._telemetry.result(self.config, {"best_val_loss": self.best_loss, **self._last_record}, self._step)
        return finished

    def _release(self, *, finished: bool) -> None:
        """Give back the lock, the charts, the ranks' group and the signals, whatever fails in between; once."""
        if self._is_closed:
            return
        self._is_closed = True
        self._telemetry.event("closed", step=self._step, finished=finished)
        self._held.close()

    def _release_lock(self) -> None:
        with contextlib.suppress(OSError, FolderError):  # a holder that is dead is as good as none
            self._lock.release()

    # --- start ---------------------------------------------------------------------------------------------------

    def _take_lock(self, held: contextlib.ExitStack, *, tensorboard: bool, wandb: str | None) -> Lock:
        outcome: dict[str, Any] = {}
        if self.rank == 0:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._lock = lock = take(self.folder, self.policy.patience)
                held.callback(self._release_lock)
                self._telemetry.open_charts(
                    tensorboard=tensorboard,
                    wandb=wandb,
                    run_id=lock.run_id,
                    config=self.config,
                    is_restart=lock.incarnation > 1,
                )
                if problems := clean_temporary(self.folder):
                    warn(f"trainyard: {self.folder}: left over, and cannot be removed: {told_problems(problems)}")
                outcome = {"run_id": lock.run_id, "incarnation": lock.incarnation, "origin": lock.origin}
            except OSError as error:
                outcome = {
                    "error": f"checkpoint folder {self.folder}: {error.strerror}; choose another with TRAINYARD_CHECKPOINTS"
                }
            except TrainyardError as error:
                outcome = {"error": str(error), "is_setting": isinstance(error, ConfigError)}
        outcome = self._agreement.broadcast(outcome)
        if "error" in outcome:
            raise (ConfigError if outcome.get("is_setting") else FolderError)(outcome["error"])
        return Lock(self.folder, **outcome)

    def _tell_start(self) -> None:
        pids = [int(pid) for pid in self._agreement.gather(str(os.getpid()))]
        self._telemetry.event(
            "start",
            process_started=process_started(),
            world_size=self.world_size,
            restart_count=int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")),
            attempt=int(os.environ.get("TRAINYARD_ATTEMPT", "0")),
            total_steps=self.total_steps,
            pids=pids,
        )


def default_folder(folder: str | Path | None) -> Path:
    """The checkpoint folder: as given, else TRAINYARD_CHECKPOINTS, else ./checkpoints."""
    return Path(folder or os.environ.get("TRAINYARD_CHECKPOINTS") or "checkpoints").absolute()


def _no_tensor(path: str, tensor: Any) -> None:
    raise TrainyardError(f"{path}: a tensor cannot stand here; keep tensors in objects with a state_dict")
