"""transformers.Trainer, which joins the process group inside."""

from __future__ import annotations

from typing import Any

import torch
from told import STEPS, Rows, Tiny, tell
from transformers import Trainer, TrainerCallback, TrainingArguments


class Teller(TrainerCallback):
    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **more: Any) -> None:
        if logs and "loss" in logs:
            tell(state.global_step, logs["loss"])


torch.manual_seed(0)
arguments = TrainingArguments(
    output_dir="hf-output",
    max_steps=STEPS,
    logging_steps=1,
    save_strategy="no",
    per_device_train_batch_size=2,
    use_cpu=True,
    report_to=[],
    disable_tqdm=True,
)
Trainer(model=Tiny(), args=arguments, train_dataset=Rows(), callbacks=[Teller()]).train()
