"""Lightning: the lines marked with # <- are what makes it survive kills.

    python training/examples/lightning_trainer.py --steps 30
    torchrun --nproc-per-node 2 training/examples/lightning_trainer.py --steps 30

Kill it and start it again with the same command: it goes on from its newest checkpoint, bit for bit. The folder is
TRAINYARD_CHECKPOINTS, else ./checkpoints; TRAINYARD_ROLLING_STEPS=5 saves every 5 steps.
"""

from __future__ import annotations

import os
from typing import Any

import torch
import trainyard
from lightning.pytorch import LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader
from toy_data import Sequences, parse_options
from toy_model import ToyModel
from trainyard.lightning import TrainyardCallback  # <-


class Toy(LightningModule):
    def __init__(self, steps: int) -> None:
        super().__init__()
        self.model, self.steps = ToyModel(), steps

    def training_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        loss: torch.Tensor = self.model(batch["input_ids"])
        return loss

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        self.log("val_loss", self.model(batch["input_ids"]), sync_dist=True)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_trainer(**length: int) -> Trainer:
    return Trainer(
        **length,
        accelerator="cpu",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", "1")),
        accumulate_grad_batches=2,
        val_check_interval=0.5,
        callbacks=[TrainyardCallback()],  # <-
        enable_checkpointing=False,  # Trainyard saves
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
    )


def main() -> None:
    options = parse_options(__doc__)
    seed_everything(options.seed + int(os.environ.get("RANK", "0")), verbose=False)
    # DataLoader(dataset, 2, shuffle=True) forgets where it was; this one does not                      <-
    loader = trainyard.ResumableLoader(Sequences(seen=options.seen), batch_size_per_rank=2, seed=options.seed)
    make_trainer(max_steps=options.steps).fit(Toy(options.steps), loader, DataLoader(Sequences(8), batch_size=4))


if __name__ == "__main__":
    main()
