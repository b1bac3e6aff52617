"""Hugging Face Trainer: checkpoints, exact resume and telemetry with three lines changed.

    from trainyard.huggingface import TrainyardCallback, resume
    trainer = Trainer(..., callbacks=[TrainyardCallback()])           # with save_strategy="no", logging_steps=1
    trainer.train(resume_from_checkpoint=resume(trainer))

A callback alone cannot resume: `Trainer.train` computes the epoch and the batches to skip, from the folder it is given, before it
calls the first hook of a training. So `resume` hands it a small folder with the Trainer's own state in the Trainer's own format and
no weights; everything else is restored by the callback, bit for bit, in `on_train_begin`.

A step is told to the Checkpointer when the next one begins: only then are its evaluation and its logs done, and the random numbers
that these and the next batches use up are used up. That is where a resumed run sets them back to.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from safetensors.torch import save_file
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from trainyard import codec, restoring, rng
from trainyard.agreement import Agreement
from trainyard.checkpointer import Checkpointer, default_folder
from trainyard.ddp_order import settle
from trainyard.errors import ConfigError, RestoreError
from trainyard.policy import SavePolicy
from trainyard.starting import open_store

RENAMED = {"learning_rate": "lr", "eval_loss": "val_loss", "train_tokens_per_second": "tokens_per_s"}
TOLD = ("loss", "grad_norm", *RENAMED)
"""What of the Trainer's training logs goes into a step's record; of an evaluation everything does but its own timing."""

MOVING = ("epoch", "global_step", "num_input_tokens_seen", "total_flos", "log_history", "best_metric", "best_global_step")
"""What of a TrainerState the training changes; the rest are settings, which may be others at the next start."""


def resume(trainer: Trainer) -> str | None:
    """What to pass to `train(resume_from_checkpoint=...)`: None where there is nothing to resume from. Collective.

    Raises ConfigError where this cannot work: no TrainyardCallback, or a model sharded or owned by FSDP or DeepSpeed.
    """
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TrainyardCallback):
            return callback.prepare(trainer)
    raise ConfigError("resume(trainer) needs Trainer(..., callbacks=[TrainyardCallback()])")


class TrainyardCallback(TrainerCallback):  # type: ignore[misc]
    """Saves and restores a Trainer's complete state: model, optimizer, schedule, scaler, RNG, TrainerState, place in the data.

    `folder` and `options` are the Checkpointer's. For one process and for DDP. SIGTERM: all ranks save, and exit with 143.
    """

    def __init__(self, folder: str | Path | None = None, **options: Any) -> None:
        self._folder, self._options = default_folder(folder), options
        self._trainer: Trainer | None = None
        self._stub: Path | None = None
        self._checkpointer: Checkpointer | None = None
        self._rng: dict[str, Any] | None = None
        self._told_step, self._was_finished = 0, False
        self._metrics: dict[str, Any] = {}

    def prepare(self, trainer: Trainer) -> str | None:
        """See `resume`."""
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ConfigError(
                "TrainyardCallback works with one process and with DDP; for FSDP see examples/dcp_user.py and plain_loop.py"
            )
        self._trainer = trainer
        policy = self._options.get("policy") or SavePolicy.from_environment()
        step, saved = restoring.peek(open_store(self._folder, policy), Agreement(timeout_s=policy.peer_timeout_s))
        if step == 0:
            return None
        self._stub = Path(tempfile.mkdtemp(prefix="trainyard-resume-"))  # each rank its own
        state = codec.decode(saved["trainer"], _no_tensors)
        _write_stub(self._stub, _Progress.state_of(state), list(trainer.model.state_dict()))
        return str(self._stub)

    # --- the Trainer's hooks -------------------------------------------------------------------------------------

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._trainer is None:
            raise ConfigError(
                "call trainer.train(resume_from_checkpoint=trainyard.huggingface.resume(trainer)): without it nothing is resumed"
            )
        if self._stub is not None:
            shutil.rmtree(self._stub)
            self._stub = None
        settle([self._trainer.model_wrapped])
        self._checkpointer = Checkpointer(
            self._folder, total_steps=state.max_steps, **{"data": None, **self._options, **_things(self._trainer)}
        )
        self._told_step = self._checkpointer.restore()
        if self._told_step != state.global_step:
            raise RestoreError(
                f"{self._folder} is at step {self._told_step}, and Trainer begins at step {state.global_step}: "
                "pass resume(trainer), and nothing else, to trainer.train(resume_from_checkpoint=...)"
            )
        self._rng = rng.capture() if self._told_step else None
        self._was_finished = 0 < state.max_steps <= self._told_step

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self._rng is not None:
            rng.restore(self._rng)
            self._rng = None
        self._tell(state)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        for name, value in logs.items():
            is_timing = name.endswith(("_runtime", "_per_second")) and name not in RENAMED
            if name in TOLD or (name.startswith("eval_") and not is_timing):
                self._metrics[RENAMED.get(name, name)] = value

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        assert self._checkpointer is not None
        if self._was_finished:
            # Trainer trains at least one step in a started epoch, also where all steps were done before: take that one back.
            self._checkpointer.restore()
        else:
            self._tell(state)
        self._checkpointer.close(finished=True)

    # --- a finished step -----------------------------------------------------------------------------------------

    def _tell(self, state: TrainerState) -> None:
        if state.global_step <= self._told_step or self._was_finished:
            return
        assert self._checkpointer is not None
        self._told_step, metrics, self._metrics = state.global_step, self._metrics, {}
        is_end_of_epoch = float(state.epoch).is_integer()
        self._checkpointer.step(state.global_step, epoch=math.ceil(state.epoch) - 1, end_of_epoch=is_end_of_epoch, **metrics)


class _Progress:
    """The Trainer's own state, as an object of the Checkpointer."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def state_dict(self) -> dict[str, Any]:
        """The log goes as one text: it grows with every step, and json writes it many times faster than the codec."""
        handler = self._trainer.callback_handler.callbacks + [self._trainer.control]
        callbacks = TrainerState(stateful_callbacks=[callback for callback in handler if isinstance(callback, ExportableState)])
        fields = {field.name: getattr(self._trainer.state, field.name) for field in dataclasses.fields(TrainerState)}
        return {**fields, "stateful_callbacks": callbacks.stateful_callbacks, "log_history": json.dumps(fields["log_history"])}

    @staticmethod
    def state_of(saved: dict[str, Any]) -> dict[str, Any]:
        """What the Trainer reads from trainer_state.json."""
        return {**saved, "log_history": json.loads(saved["log_history"])}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """The Trainer has read it already, from the folder that `resume` made; a later restore takes back the steps since."""
        for name, value in self.state_of(saved).items():
            if name in MOVING:
                setattr(self._trainer.state, name, value)


def _things(trainer: Trainer) -> dict[str, Any]:
    """The Checkpointer's objects. Accelerate's wrapper of the optimizer is left out: its class says nothing of the state."""
    optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
    things = {"model": trainer.model, "optimizer": optimizer, "scheduler": trainer.lr_scheduler, "trainer": _Progress(trainer)}
    scaler = getattr(trainer.accelerator, "scaler", None)
    return things if scaler is None else {**things, "scaler": scaler}


def _no_tensors(key: str) -> NoReturn:
    raise RestoreError(f"{key}: a tensor in TrainerState; Trainer itself could not write that to its trainer_state.json")


def _write_stub(folder: Path, state: dict[str, Any], names: list[str]) -> None:
    """A Trainer checkpoint that says where the training stands, and names every weight in a file that holds none."""
    (folder / "trainer_state.json").write_text(json.dumps(state))
    save_file({}, folder / "empty.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "empty.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
