"""A trainer in the manner of torchtitan: a dict of Stateful objects that went to torch.distributed.checkpoint. It keeps the dict.

    torchrun --nproc-per-node 2 training/examples/dcp_user.py --steps 30

The lines marked with # <- are the changed ones, with the old line beside them. Kill it and start it again with the same command: it
goes on from its newest checkpoint, bit for bit. The folder is TRAINYARD_CHECKPOINTS, else ./checkpoints; TRAINYARD_ROLLING_STEPS=5
saves every 5 steps. A checkpoint is readable with dcp.load(..., storage_reader=HuggingFaceStorageReader(folder)).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import trainyard
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from toy_data import Sequences, parse_options
from toy_model import ToyModel

ACCUMULATE = 2


# --- Stateful objects, as they were --------------------------------------------------------------------------------


class ModelWrapper:
    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def state_dict(self) -> dict[str, Any]:
        return get_model_state_dict(self.model)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        set_model_state_dict(self.model, state, options=StateDictOptions(strict=False))


class OptimizerContainer:
    OPTIONS = StateDictOptions(flatten_optimizer_state_dict=True)

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def state_dict(self) -> dict[str, Any]:
        return get_optimizer_state_dict(self.model, self.optimizer, options=self.OPTIONS)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        set_optimizer_state_dict(self.model, self.optimizer, optim_state_dict=state, options=self.OPTIONS)


class TrainState:
    def __init__(self) -> None:
        self.step, self.tokens_seen = 0, 0

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"step": torch.tensor(self.step, dtype=torch.int32), "tokens_seen": torch.tensor(self.tokens_seen)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        self.step, self.tokens_seen = int(state["step"]), int(state["tokens_seen"])


# --- the trainer ---------------------------------------------------------------------------------------------------


def main() -> None:
    options = parse_options(__doc__)
    world = trainyard.init_distributed(process_group=True)
    torch.manual_seed(options.seed)
    model = ToyModel().to(world.device)
    mesh = init_device_mesh(world.device.type, (world.world_size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
    loader = trainyard.ResumableLoader(Sequences(seen=options.seen), batch_size_per_rank=4, seed=options.seed)
    train_state = TrainState()
    states: dict[str, Any] = {
        "model": ModelWrapper(model),
        "optimizer": OptimizerContainer(model, optimizer),
        "lr_scheduler": schedule,
        "dataloader": loader,
        "train_state": train_state,
    }

    torch.manual_seed(options.seed + world.rank)  # each rank drops out other units
    checkpointer = trainyard.Checkpointer(total_steps=options.steps, **states)  # <-
    checkpointer.restore()  # <- dcp.load(states, checkpoint_id=newest_folder)
    while train_state.step < options.steps:
        for batch in loader:
            lr = schedule.get_last_lr()[0]
            tokens_BT = batch["input_ids"].to(world.device)
            loss = train_step(model, optimizer, tokens_BT)
            schedule.step()
            train_state.step += 1
            train_state.tokens_seen += tokens_BT.numel() * world.world_size
            checkpointer.step(train_state.step, loss=loss, lr=lr)  # <- if step % 5 == 0: dcp.async_save(states, ...)
            if train_state.step == options.steps:
                break
    checkpointer.close()  # <-
    dist.destroy_process_group()


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, tokens_BT: torch.Tensor) -> float:
    """The loss of this rank's part of the batch."""
    loss_sum = 0.0
    assert isinstance(model, FSDPModule)
    for number, part_BT in enumerate(tokens_BT.chunk(ACCUMULATE), start=1):
        model.set_requires_gradient_sync(number == ACCUMULATE)
        loss = model(part_BT) / ACCUMULATE
        loss.backward()
        loss_sum += loss.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss_sum


if __name__ == "__main__":
    main()
