"""A training loop of one's own: the lines marked with # <- are what makes it survive kills.

    python training/examples/plain_loop.py --steps 30
    torchrun --nproc-per-node 2 training/examples/plain_loop.py --steps 30

Kill it and start it again with the same command: it goes on from its newest checkpoint, bit for bit. The folder is
TRAINYARD_CHECKPOINTS, else ./checkpoints; TRAINYARD_ROLLING_STEPS=5 saves every 5 steps.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import trainyard
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from toy_data import Sequences, parse_options
from toy_model import ToyModel

ACCUMULATE = 2
"""Parts of a batch that go through the model one after the other."""


def main() -> None:
    options = parse_options(__doc__)
    world = trainyard.init_distributed()  # nothing to join without torchrun
    torch.manual_seed(options.seed)
    model: nn.Module = ToyModel().to(world.device)
    if world.world_size > 1:
        model = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    # DataLoader(dataset, 4, shuffle=True) forgets where it was; this one does not                      <-
    loader = trainyard.ResumableLoader(Sequences(seen=options.seen), batch_size_per_rank=4, seed=options.seed)

    checkpointer = trainyard.Checkpointer(  # <-
        model=model, optimizer=optimizer, scheduler=schedule, data=loader, total_steps=options.steps
    )
    torch.manual_seed(options.seed + world.rank)  # each rank drops out other units
    step = checkpointer.restore()  # <-
    while step < options.steps:
        for batch in loader:
            lr = schedule.get_last_lr()[0]
            loss = train_step(model, optimizer, batch["input_ids"].to(world.device))
            schedule.step()
            step += 1
            checkpointer.step(step, loss=loss, lr=lr)  # <-
            if step == options.steps:
                break
    checkpointer.close()  # <-
    if dist.is_initialized():
        dist.destroy_process_group()


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, tokens_BT: torch.Tensor) -> float:
    """The loss of this rank's part of the batch."""
    loss_sum = 0.0
    for part_BT in tokens_BT.chunk(ACCUMULATE):
        loss = model(part_BT) / ACCUMULATE
        loss.backward()
        loss_sum += loss.item()
    optimizer.step()
    optimizer.zero_grad()
    return loss_sum


if __name__ == "__main__":
    main()
