"""A job whose tensors are as awkward as they come, for tests of saving at one world size and layout and restoring at another.

    torchrun --nproc-per-node 4 -m tests.training.exact.odd_job '[{"parallel": "fsdp", "folder": "a", "out": "b", "train": 5, "save": true}, ...]'

Each case restores what is in `folder` (first copied from `copy_of`, where the case has one), writes what it then holds to `out`, trains `train` steps, writes again, and saves where asked.
Every rank writes whole tensors, so that a rank with a wrong copy of a replicated one is found too.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import trainyard
from safetensors.torch import save_file
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

# B batch (this rank's share), D features

SAMPLES, GLOBAL_BATCH = 37, 4


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(5, 7)  # 7 rows: uneven over 4 and over 2 ranks
        self.few = nn.Parameter(torch.randn(3, 2))  # over 4 ranks the last one holds nothing
        self.one = nn.Parameter(torch.randn(1, 7))  # and of this all but the first
        self.empty = nn.Parameter(
            torch.empty(0, 3), requires_grad=False
        )  # no element; fully_shard cannot reduce such a gradient
        self.gain = nn.Parameter(torch.tensor(1.5))  # 0-d, which fully_shard leaves alone
        self.register_buffer("calls", torch.tensor(0.0, dtype=torch.float64))  # 0-d, changed by every forward
        self.short = nn.Linear(7, 3, bias=False, dtype=torch.bfloat16)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        h_BD = torch.tanh(self.inner(x_BD)) * self.gain + self.one
        y_BD = self.short(h_BD.to(torch.bfloat16)).float()
        return y_BD.square().mean() + (self.few.square().sum() - 1) ** 2


def parallelize(net: Odd, parallel: str, world: trainyard.World) -> nn.Module:
    if parallel == "plain":
        return net
    if parallel == "ddp":
        return DistributedDataParallel(net)
    mesh = dist.init_device_mesh("cpu", (world.world_size,))
    for part in (net.inner, net.short):
        fully_shard(part, mesh=mesh)
    return fully_shard(net, mesh=mesh, ignored_params={net.gain})


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone().contiguous()


def holdings(net: Odd, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Every parameter, buffer and optimizer slot, whole. Collective."""
    held = {f"model.{name}": whole(value) for name, value in [*net.named_parameters(), *net.named_buffers()]}
    for name, parameter in net.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            held[f"optimizer.{name}.{slot}"] = whole(value)
    return held


def train(
    model: nn.Module, net: Odd, optimizer: torch.optim.Optimizer, order: trainyard.GlobalOrder, world: trainyard.World
) -> list[int]:
    """One step; this rank's sample indices."""
    indices_B = order.next_batch(GLOBAL_BATCH, world.rank, world.world_size)
    model(torch.sin(indices_B[:, None] * torch.arange(1.0, 6.0))).backward()
    if not isinstance(model, DistributedDataParallel) and dist.is_initialized():
        dist.all_reduce(net.gain.grad)  # fully_shard has no eye on a parameter that it ignores
        net.gain.grad /= world.world_size
    optimizer.step()
    optimizer.zero_grad()
    return [int(index) for index in indices_B]


def run(case: dict[str, Any], world: trainyard.World) -> None:
    if "copy_of" in case and world.rank == 0:
        shutil.copytree(case["copy_of"], case["folder"])
    torch.manual_seed(1)
    random.seed(world.rank), np.random.seed(world.rank)
    net = Odd()
    model = parallelize(net, case["parallel"], world)
    groups = [{"params": [net.gain, net.few]}, {"params": [p for n, p in net.named_parameters() if n not in ("gain", "few")]}]
    optimizer = torch.optim.AdamW(groups, lr=0.05)
    order = trainyard.GlobalOrder(SAMPLES, seed=3)
    checkpointer = trainyard.Checkpointer(Path(case["folder"]), model=model, optimizer=optimizer, data=order)
    step = checkpointer.restore()
    told: dict[str, Any] = {"restored": step, "position": order.position, "indices": []}
    tell(case, "restored", net, optimizer, world)
    told["draws"] = [random.random(), float(np.random.rand()), float(torch.rand(()))] if case.get("draw") else None
    for _ in range(case["train"]):
        step += 1
        told["indices"].append(train(model, net, optimizer, order, world))
        checkpointer.step(step)
    tell(case, "trained", net, optimizer, world)
    if case.get("save"):
        checkpointer.close()
        told["draws"] = [random.random(), float(np.random.rand()), float(torch.rand(()))]
    Path(case["out"], f"told-{world.rank}.json").write_text(json.dumps(told))


def tell(case: dict[str, Any], when: str, net: Odd, optimizer: torch.optim.Optimizer, world: trainyard.World) -> None:
    Path(case["out"]).mkdir(parents=True, exist_ok=True)
    save_file(holdings(net, optimizer), Path(case["out"], f"{when}-{world.rank}.safetensors"))


def main() -> None:
    torch.set_num_threads(1)
    world = trainyard.init_distributed(process_group=True)
    for case in json.loads(sys.argv[1]):
        run(case, world)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
