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


def _fit(make_loader: Any, samples: int = SAMPLES, **length: int) -> None:
    from lightning.pytorch import seed_everything
    from lightning_trainer import Toy, make_trainer

    options = parse_options(None)
    seed_everything(options.seed, verbose=False)
    loader = make_loader(Sequences(samples, seen=options.seen), options.seed)
    make_trainer(**length).fit(Toy(STEPS), loader, DataLoader(Sequences(8), batch_size=4))


if __name__ == "__main__":
    globals()[sys.argv.pop(1).replace("-", "_")]()
