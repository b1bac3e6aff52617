"""The examples with one thing done wrong, to see that it shows; started like them.

python variants.py plain-ordinary-loader --steps 30
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "training" / "examples"))

import torch
import trainyard
from torch.utils.data import DataLoader
from toy_data import SAMPLES, Sequences, parse_options

STEPS = 30


class Forgetful(trainyard.ResumableLoader):
    """Begins its order again wherever the run goes on."""

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        pass


def plain_ordinary_loader() -> None:
    """An ordinary DataLoader, and nothing for its position."""
    from plain_loop import ToyModel, train_step

    options = parse_options(None)
    torch.manual_seed(options.seed)
    model = ToyModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = DataLoader(Sequences(seen=options.seen), batch_size=4, shuffle=True, drop_last=True)
    checkpointer = trainyard.Checkpointer(model=model, optimizer=optimizer)
    step = checkpointer.restore()
    while step < options.steps:
        for batch in loader:
            step += 1
            checkpointer.step(step, loss=train_step(model, optimizer, batch["input_ids"]))
            if step == options.steps:
                break
    checkpointer.close()


class Count:
    """What one rank has counted, at its own pace."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.count = state["count"]


def per_rank_state() -> None:
    """Exits with 3 where a rank got another one's count."""
    options, world, count = parse_options(None), trainyard.init_distributed(), Count()
    checkpointer = trainyard.Checkpointer(model=torch.nn.Linear(2, 2), count=trainyard.PerRank(count))
    step = checkpointer.restore()
    if count.count != step * (world.rank + 1):
        sys.exit(3)
    while step < options.steps:
        step += 1
        count.count += world.rank + 1
        checkpointer.step(step)
    checkpointer.close()


def accelerate_prepared_loader() -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, loader = accelerator.prepare(torch.nn.Linear(2, 2), DataLoader(Sequences(), batch_size=4, shuffle=True))
    trainyard.Checkpointer(model=model, data=loader)


def accelerate_as_a_whole() -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    trainyard.Checkpointer(model=accelerator.prepare(torch.nn.Linear(2, 2)), accelerator=accelerator, data=None)


def huggingface_without_skipping() -> None:
    from huggingface_trainer import make_trainer, resume

    trainer = make_trainer(parse_options(None), ignore_data_skip=True)
    trainer.train(resume_from_checkpoint=resume(trainer))


def huggingface_early_stopping() -> None:
    """Nothing wrong: a callback that counts, and another one that Trainer knows nothing of and the Checkpointer is given."""
    from huggingface_trainer import make_trainer, resume
    from trainyard.huggingface import TrainyardCallback
    from transformers import EarlyStoppingCallback, TrainerCallback

    class Counting(TrainerCallback):  # type: ignore[misc]
        count = torch.tensor(0)

        def on_step_end(self, *arguments: Any, **more: Any) -> None:
            self.count = self.count + 1

        def state_dict(self) -> dict[str, torch.Tensor]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
            self.count = state["count"]

    counting = Counting()
    trainer = make_trainer(parse_options(None), metric_for_best_model="loss", greater_is_better=False)
    trainer.pop_callback(TrainyardCallback)
    for callback in (EarlyStoppingCallback(9, early_stopping_threshold=9.0), counting, TrainyardCallback(counting=counting)):
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=resume(trainer))
    assert int(counting.count) == STEPS


def huggingface_without_resume() -> None:
    from huggingface_trainer import make_trainer

    make_trainer(parse_options(None)).train()


def lightning_forgetful() -> None:
    _fit(lambda data, seed: Forgetful(data, batch_size=2, seed=seed), max_steps=STEPS)


def lightning_ordinary_loader() -> None:
    _fit(lambda data, _: DataLoader(data, batch_size=2, shuffle=True), max_steps=STEPS)


def lightning_by_epochs() -> None:
    """Nothing wrong with this one: three epochs of ten steps. Lightning restarts otherwise where it counts epochs, not steps."""
    _fit(lambda data, seed: trainyard.ResumableLoader(data, batch_size=2, seed=seed), samples=40, max_epochs=3)


def lightning_with_hooks() -> None:
    """Nothing wrong: a schedule by epoch, an epoch that ends amid an accumulation, counts that only the hooks keep, and a datamodule, which has no such hook.

    The learning rate of the module depends on the counts, so that one that is lost shows in the weights.
    """
    from lightning.pytorch import Callback
    from lightning_trainer import Toy

    class Counting(Toy):
        batches = 0

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            self.batches += 1
            return super().training_step(batch, batch_idx) * (1 + self.batches / 10 + counter.epochs)

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
            return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)}

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["batches"] = self.batches

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.batches = checkpoint["batches"]

    class Epochs(Callback):
        epochs = 0

        def on_train_epoch_end(self, *arguments: Any) -> None:
            self.epochs += 1

        def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
            checkpoint["epochs"] = torch.tensor(self.epochs)

        def on_load_checkpoint(self, trainer: Any, module: Any, checkpoint: dict[str, Any]) -> None:
            self.epochs = int(checkpoint["epochs"])

    counter = Epochs()
    _fit(
        lambda data, seed: trainyard.ResumableLoader(data, batch_size=2, seed=seed),
        samples=38,
        module=Counting,
        callbacks=[counter],
        has_datamodule=True,
        max_epochs=3,
    )


def lightning_averaging() -> None:
    """Puts an average in the place of the weights that are saved."""
    from lightning.pytorch.callbacks import WeightAveraging

    _fit(
        lambda data, seed: trainyard.ResumableLoader(data, batch_size=2, seed=seed),
        callbacks=[WeightAveraging()],
        max_steps=STEPS,
    )


def lightning_plateau_by_step() -> None:
    from lightning_trainer import Toy

    class Plateau(Toy):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "interval": "step", "monitor": "val_loss", "strict": False},
            }

    _fit(lambda data, seed: trainyard.ResumableLoader(data, batch_size=2, seed=seed), module=Plateau, max_steps=STEPS)


def _fit(
    make_loader: Any,
    samples: int = SAMPLES,
    module: Any = None,
    callbacks: Any = (),
    has_datamodule: bool = False,
    **length: int,
) -> None:
    from lightning.pytorch import LightningDataModule, seed_everything
    from lightning_trainer import Toy, make_trainer

    class Data(LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader

        def val_dataloader(self) -> Any:
            return evaluation

    options = parse_options(None)
    seed_everything(options.seed, verbose=False)
    loader = make_loader(Sequences(samples, seen=options.seen), options.seed)
    evaluation = DataLoader(Sequences(8), batch_size=4)
    trainer = make_trainer(**length)
    trainer.callbacks += callbacks
    data = {"datamodule": Data()} if has_datamodule else {"train_dataloaders": loader, "val_dataloaders": evaluation}
    trainer.fit((module or Toy)(STEPS), **data)


if __name__ == "__main__":
    globals()[sys.argv.pop(1).replace("-", "_")]()
