"""Hugging Face Accelerate: the lines marked with # <- are what makes it survive kills.

    python training/examples/accelerate_loop.py --steps 30
    torchrun --nproc-per-node 2 training/examples/accelerate_loop.py --steps 30

Kill it and start it again with the same command: it goes on from its newest checkpoint, bit for bit. The folder is
TRAINYARD_CHECKPOINTS, else ./checkpoints; TRAINYARD_ROLLING_STEPS=5 saves every 5 steps.
"""

from __future__ import annotations

import torch
import trainyard
from accelerate import Accelerator
from accelerate.utils import set_seed
from toy_data import Sequences, parse_options
from toy_model import ToyModel

ACCUMULATE = 2
"""Batches of an optimizer step."""


def main() -> None:
    options = parse_options(__doc__)
    trainyard.init_distributed()  # <- before the Accelerator, which takes the process group that it finds
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=ACCUMULATE)
    set_seed(options.seed)
    model = ToyModel()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    # Accelerate takes a step of the schedule for each rank.
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps * accelerator.num_processes)
    model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)
    # DataLoader(dataset, 2, shuffle=True) forgets where it was; this one does not, and is not prepared   <-
    loader = trainyard.ResumableLoader(Sequences(seen=options.seen), batch_size_per_rank=2, seed=options.seed)

    checkpointer = (
        trainyard.Checkpointer(  # <- what prepare() returned; with mixed_precision="fp16" also scaler=accelerator.scaler
            model=model, optimizer=optimizer, scheduler=schedule, data=loader, total_steps=options.steps
        )
    )
    set_seed(options.seed, device_specific=True)  # each rank drops out other units
    step, losses = checkpointer.restore(), []  # <-
    while step < options.steps:
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(batch["input_ids"].to(accelerator.device))
                accelerator.backward(loss)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            losses.append(loss.item())
            if accelerator.sync_gradients:
                step += 1
                checkpointer.step(step, loss=sum(losses) / len(losses), lr=schedule.get_last_lr()[0])  # <-
                losses = []
            if step == options.steps:
                break
    checkpointer.close()  # <-
    accelerator.end_training()


if __name__ == "__main__":
    main()
