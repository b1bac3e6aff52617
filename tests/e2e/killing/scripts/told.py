"""What the scripts beside this one share: a slow small task, and a file that says which step was done. No Trainyard in here."""

from __future__ import annotations

import os
import time

import torch
from torch.utils.data import Dataset

STEPS = 40
STEP_S = 0.04
SAMPLES, WIDTH = 400, 8


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Sample `i` is a function of `i`."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": torch.sin(torch.arange(WIDTH) * (index + 1.0)), "labels": torch.ones(WIDTH)}


class Tiny(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.layer(x)
        return {"loss": torch.nn.functional.mse_loss(y, labels), "logits": y}


def tell(step: int, loss: float | torch.Tensor) -> None:
    """After a step: the line that a trainer prints, and the one that the test reads. Then the step takes its time."""
    if os.environ.get("RANK", "0") == "0":
        print(f"step {step} loss {float(loss):.6f}", flush=True)
        with open(os.environ["TOLD"], "a") as told:
            told.write(f"{os.getpid()} {step}\n")
    time.sleep(STEP_S)
