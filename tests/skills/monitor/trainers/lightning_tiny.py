"""A real Lightning Trainer for a few batches: lightning_tiny.py FOLDER. It keeps its own list of losses in FOLDER/told.json."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger


class Tiny(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)
        self.told: list[tuple[int, float]] = []

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        loss = torch.nn.functional.mse_loss(self.layer(batch[0]), torch.ones(1, 8).expand(len(batch[0]), 8))
        self.log("train_loss", loss, prog_bar=True)
        self.told.append((self.global_step, loss.item()))
        return loss

    def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
        self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]), torch.ones(len(batch[0]), 8)), prog_bar=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main(folder: str) -> None:
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(40, 8))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    model = Tiny()
    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=1,
        log_every_n_steps=2,
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=CSVLogger(folder, name="csv", version=0),
        callbacks=[TQDMProgressBar(refresh_rate=1)],
    )
    trainer.fit(model, loader, loader)
    Path(folder, "told.json").write_text(json.dumps(model.told))


if __name__ == "__main__":
    main(sys.argv[1])
