"""Lightning: checkpoints, exact resume and telemetry with three lines changed.

    from trainyard.lightning import TrainyardCallback
    loader = trainyard.ResumableLoader(dataset, batch_size=8, seed=7)                   # in place of the training DataLoader
    trainer = Trainer(..., callbacks=[TrainyardCallback()], enable_checkpointing=False)

Lightning reads the progress of its loops, and the place of a training loader that has `state_dict`, when the loops start: they are
restored in `on_fit_start`. Everything else follows in `on_train_start`, which is also when Lightning has installed its signal
handlers; its own answer to SIGTERM ends with exit code 0, as if the work were done.

A step is told to the Checkpointer when the next batch begins: only then are its validation, its end-of-epoch hooks and its
schedules done, and the next epoch has begun. The batch that is read by then is taken back in what is saved of loops and loader.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from trainyard import codec, restoring, rng
from trainyard.agreement import Agreement
from trainyard.checkpointer import Checkpointer, default_folder
from trainyard.ddp_order import settle
from trainyard.errors import ConfigError, RestoreError
from trainyard.lightning_hooks import Hooks, refuse_what_is_lost
from trainyard.policy import SavePolicy
from trainyard.starting import open_store

HOOKS_KEY = "on_save_checkpoint"
"""Among the callbacks' states; no callback's own key, which is the name of its class."""


class TrainyardCallback(Callback):  # type: ignore[misc]
    """Saves and restores a fit's complete state: model, optimizers, schedules, precision, callbacks, datamodule, RNG, loops, loader.

    `folder` and `options` are the Checkpointer's; `val_loss` is the logged metric by which the best checkpoint is kept. For one
    process and for DDP. SIGTERM: all ranks save, and exit with 143. Raises ConfigError for what cannot be resumed: a training loader
    that does not know its place, a hook that changes the checkpoint's weights.
    """

    def __init__(self, folder: str | Path | None = None, *, val_loss: str = "val_loss", **options: Any) -> None:
        self._folder, self._options, self._val_loss = default_folder(folder), options, val_loss
        self._checkpointer: Checkpointer | None = None
        self._loops = _Loops()
        self._rng: dict[str, Any] | None = None
        self._peeked_step = self._told_step = 0
        self._loaders: list[Any] = []
        self._parts: list[Any] = []
        self._metrics: dict[str, Any] = {}
        self._epoch, self._is_end_of_epoch = 0, False

    # --- start ---------------------------------------------------------------------------------------------------

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise ConfigError(
                f"TrainyardCallback works with one device and with DDP, not with {type(trainer.strategy).__name__}; "
                "for FSDP see examples/dcp_user.py and plain_loop.py"
            )
        policy = self._options.get("policy") or SavePolicy.from_environment()
        self._peeked_step, saved = restoring.peek(open_store(self._folder, policy), Agreement(timeout_s=policy.peer_timeout_s))
        if self._peeked_step:
            self._loops.progress = codec.decode(saved["loops"], _no_tensors)
            trainer.fit_loop.load_state_dict(self._loops.progress)
        if self._peeked_step and _is_finished(trainer):  # then Lightning starts no loop, and calls no further hook of one
            self._open(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for loader in _leaves(trainer.train_dataloader):
            if not hasattr(loader, "state_dict") or not hasattr(loader, "load_state_dict"):
                raise ConfigError(
                    f"a {type(loader).__name__} cannot say where it stands, so a resumed run would see samples twice and others never: "
                    "use trainyard.ResumableLoader(dataset, batch_size) for training"
                )
        self._open(trainer, pl_module)

    def _open(self, trainer: Trainer, module: LightningModule) -> None:
        total = trainer.estimated_stepping_batches
        total_steps = int(total) if total != float("inf") else None
        settle([trainer.strategy.model])
        things = {**_things(trainer, module, self), "loops": self._loops}
        self._checkpointer = Checkpointer(self._folder, total_steps=total_steps, **{"data": None, **self._options, **things})
        self._told_step = self._checkpointer.restore()
        if self._told_step != self._peeked_step:
            raise RestoreError(
                f"{self._folder} went from step {self._peeked_step} to {self._told_step} while this run started: does another one write there?"
            )
        self._rng = rng.capture() if self._told_step else None

    # --- every batch ---------------------------------------------------------------------------------------------

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._rng is not None:
            rng.restore(self._rng)
            self._rng = None
            # Where a validation was due at this place, Lightning counts the last step once more while it passes it over.
            trainer.fit_loop.epoch_loop.on_load_checkpoint(self._loops.progress["epoch_loop.state_dict"])
        self._tell(trainer)
        if trainer.optimizers:
            self._metrics.setdefault("lr", trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self._parts += [] if loss is None else [loss.detach()]
        self._epoch = trainer.current_epoch
        if trainer.global_step > self._told_step:
            self._loaders = trainer.fit_loop.state_dict()["state_dict"].get("combined_loader", [])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            found = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("val")}
            found["val_loss"] = trainer.callback_metrics.get(self._val_loss)
            self._metrics.update({name: value for name, value in found.items() if value is not None})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._is_end_of_epoch = True

    def _tell(self, trainer: Trainer) -> None:
        if trainer.global_step <= self._told_step:
            return
        assert self._checkpointer is not None
        self._loops.progress = _progress(trainer, self._loaders)
        # Lightning has divided the loss of each accumulated batch by their number: the sum is the step's mean.
        loss = sum(self._parts[1:], self._parts[0]) if self._parts else None
        metrics, is_end_of_epoch = self._metrics, self._is_end_of_epoch
        self._told_step, self._parts, self._metrics, self._is_end_of_epoch = trainer.global_step, [], {}, False
        self._checkpointer.step(self._told_step, loss=loss, epoch=self._epoch, end_of_epoch=is_end_of_epoch, **metrics)

    # --- end -----------------------------------------------------------------------------------------------------

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell(trainer)
        self._close()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._close()

    def _close(self) -> None:
        if self._checkpointer is not None:
            self._checkpointer.close(finished=True)
            self._checkpointer = None


class _Loops:
    """The progress of Lightning's loops, as an object of the Checkpointer."""

    def __init__(self) -> None:
        self.progress: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        return self.progress

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Nothing: Lightning has had it since `on_fit_start`."""


def _no_tensors(key: str) -> NoReturn:
    raise RestoreError(f"{key}: a tensor among the counts of Lightning's loops; a loader's state_dict must be of plain values")


def _progress(trainer: Trainer, loaders: list[Any]) -> dict[str, Any]:
    """How far the loops are, without the batch that was read and not begun; `loaders` are their states before it was read."""
    progress: dict[str, Any] = trainer.fit_loop.state_dict()
    batches = progress["epoch_loop.batch_progress"]
    if batches["total"]["ready"] > batches["total"]["started"]:
        batches["is_last_batch"] = False  # it may be; the one before it is not, or was the last of another epoch
    for count in (batches["total"], batches["current"]):
        count["ready"] = count["started"]
    progress["state_dict"]["combined_loader"] = loaders
    return progress


def _is_finished(trainer: Trainer) -> bool:
    """All steps or epochs were done when the progress was saved."""
    epochs: int = trainer.fit_loop.epoch_progress.current.processed
    return bool(0 < trainer.max_steps <= trainer.global_step or 0 < (trainer.max_epochs or 0) <= epochs)


class _Callbacks:
    """The states of the other callbacks, by the key that Lightning gives each, and what their hooks and the module's add."""

    def __init__(self, callbacks: list[Callback], hooks: Hooks) -> None:
        self._callbacks, self._hooks = callbacks, hooks

    def state_dict(self) -> dict[str, Any]:
        own = {callback.state_key: state for callback in self._callbacks if (state := callback.state_dict())}
        added = self._hooks.state_dict()
        return {**own, HOOKS_KEY: added} if added else own

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        for callback in self._callbacks:
            if callback.state_key in saved:
                callback.load_state_dict(saved[callback.state_key])
        self._hooks.load_state_dict(saved.get(HOOKS_KEY, {}))


def _things(trainer: Trainer, module: LightningModule, own: Callback) -> dict[str, Any]:
    """The Checkpointer's objects, but for the loops."""
    optimizers = _numbered("optimizer", [getattr(optimizer, "optimizer", optimizer) for optimizer in trainer.optimizers])
    schedulers = _numbered("scheduler", [config.scheduler for config in trainer.lr_scheduler_configs])
    others = [callback for callback in trainer.callbacks if callback is not own]
    hooks = Hooks(trainer, module, others)
    hooks.check()
    refuse_what_is_lost(trainer)
    callbacks = _Callbacks(others, hooks)
    things = {"model": module, **optimizers, **schedulers, "precision": trainer.precision_plugin, "callbacks": callbacks}
    datamodule = trainer.datamodule
    return things if datamodule is None else {**things, "datamodule": datamodule}


def _numbered(name: str, things: list[Any]) -> dict[str, Any]:
    return {name: things[0]} if len(things) == 1 else {f"{name}_{number}": thing for number, thing in enumerate(things)}


def _leaves(loaders: Any) -> Iterator[Any]:
    """The loaders in what Lightning calls the training loader: one, or lists and dicts of them."""
    if isinstance(loaders, dict | list | tuple):
        for loader in loaders.values() if isinstance(loaders, dict) else loaders:
            yield from _leaves(loader)
    elif loaders is not None:
        yield loaders
