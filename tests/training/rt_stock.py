"""Run by torchrun: write checkpoints of an FSDP2 run with trainyard, or read one with nothing but stock torch and safetensors.

    torchrun --nproc-per-node 4 -m tests.training.rt_stock write <folder>
    torchrun --nproc-per-node 2 -m tests.training.rt_stock read <folder>

`write` also leaves reference.safetensors: every tensor whole, gathered by torch and saved by safetensors. `read` compares with it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from trainyard.process import leave_after_gloo

REFERENCE = "reference.safetensors"


class Odd(nn.Module):
    """Sizes that no number of ranks divides, a tensor without elements, a buffer without dimensions, two types."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(7, 5)  # five rows on four ranks: 2, 2, 1 and none
        self.narrow = nn.Linear(5, 3, dtype=torch.bfloat16)
        self.out = nn.Linear(3, 1)  # one row: three ranks hold nothing
        self.nothing = nn.Parameter(torch.zeros(0, 3), requires_grad=False)  # FSDP2 cannot reduce an empty gradient
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mask", torch.tensor([True, False, True]))

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        self.seen += len(x_BF)
        narrow_BD = self.narrow(torch.tanh(self.embed(x_BF)).bfloat16())
        return self.out(narrow_BD.float() * self.mask) + self.nothing.sum()


def sharded() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(11)
    model = Odd()
    for part in (model.narrow, model):
        fully_shard(part)
    return model, torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.01, amsgrad=True)


def nested(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The plain nested dict of tensors that a user of stock DCP would write."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    slots = {names[parameter]: dict(slots) for parameter, slots in optimizer.state.items()}
    return {"model": model.state_dict(), "optimizer": {"state": slots}}


def flat(value: Any, path: str = "") -> dict[str, torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return {path: value}
    return {key: tensor for name, item in value.items() for key, tensor in flat(item, f"{path}.{name}".lstrip(".")).items()}


def whole(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach()
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).clone()


def write(folder: Path) -> None:
    import trainyard

    world = trainyard.init_distributed()
    model, optimizer = sharded()
    checkpointer = trainyard.Checkpointer(folder / "checkpoints", model=model, optimizer=optimizer)
    checkpointer.restore()
    for step in range(1, 4):
        x_BF = torch.sin(torch.arange(28.0).reshape(4, 7) * (step + world.rank))
        model(x_BF).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        checkpointer.step(step)
    checkpointer.close()
    gathered = {key: whole(tensor) for key, tensor in flat(nested(model, optimizer)).items()}
    if world.rank == 0:
        save_file(gathered, folder / REFERENCE)


def blank(tensor: torch.Tensor) -> torch.Tensor:
    """The same layout with other values, so that what is not read shows."""
    return torch.ones_like(tensor.detach()) * 77 if tensor.dtype != torch.bool else torch.zeros_like(tensor)


def read(folder: Path) -> None:
    dist.init_process_group("gloo")
    model, optimizer = sharded()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    optimizer.step()  # so that its state has tensors to read into
    state = nested(model, optimizer)
    target = {
        "model": {k: blank(v) for k, v in state["model"].items()},
        "optimizer": {
            "state": {name: {k: blank(v) for k, v in slots.items()} for name, slots in state["optimizer"]["state"].items()}
        },
    }
    (step_folder,) = (folder / "checkpoints").glob("step_*")
    dcp.load(target, storage_reader=dcp.HuggingFaceStorageReader(str(step_folder)))
    found, reference = {key: whole(tensor) for key, tensor in flat(target).items()}, load_file(folder / REFERENCE)
    different = differences(found, reference)
    print(f"rank {dist.get_rank()} of {dist.get_world_size()}: {len(found)} tensors, different: {different}", flush=True)
    sys.exit(1 if different else 0)


def differences(found: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> list[str]:
    """Keys that one side lacks, or whose type, shape or bits differ."""
    keys = sorted(found.keys() | reference.keys())
    return [key for key in keys if key not in found or key not in reference or not identical(found[key], reference[key])]


def identical(one: torch.Tensor, other: torch.Tensor) -> bool:
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))


if __name__ == "__main__":
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    leave_after_gloo()
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
