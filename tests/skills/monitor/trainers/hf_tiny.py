"""A real transformers Trainer for a few steps, twice: hf_tiny.py FOLDER.

FOLDER/lines.log is written line by line, as with PYTHONUNBUFFERED=1; FOLDER/blocks.log in blocks, as Python does by itself, so that
the progress bars on stderr stand elsewhere. Its own trainer_state.json is what the logs are compared with.
"""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments


class Tiny(torch.nn.Module):
    """One weight matrix; learns to map noise to a fixed target."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.layer(x)
        return {"loss": torch.nn.functional.mse_loss(y, labels), "logits": y}


def rows(count: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [{"x": torch.randn(8, generator=generator), "labels": torch.ones(8)} for _ in range(count)]


def main(folder: str) -> None:
    torch.manual_seed(0)
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=40,
        logging_steps=4,
        eval_strategy="steps",
        eval_steps=20,
        save_steps=40,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to=[],
        seed=0,
    )
    Trainer(model=Tiny(), args=arguments, train_dataset=rows(80), eval_dataset=rows(8)).train()


def log_to(file: Path, *, line_buffering: bool) -> None:
    """stdout and stderr of this process, as a job's log takes them."""
    sys.stdout.flush()
    sys.stderr.flush()
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=line_buffering)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    log_to(folder / "lines.log", line_buffering=True)
    main(str(folder / "lines"))
    log_to(folder / "blocks.log", line_buffering=False)
    main(str(folder / "blocks"))
