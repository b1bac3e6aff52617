"""How the ranks share a training: each has the whole model (DDP), or a part of it (FSDP2)."""

from __future__ import annotations

import contextlib

import trainyard
from lm_model import GPT
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel


def parallelize(net: GPT, parallel: str, world: trainyard.World, *, compiled: bool = False) -> nn.Module:
    """The module to train with. One process alone has nothing to share, so it trains `net` as it is."""
    if compiled:
        for block in net.blocks:
            block.compile()  # in place, so the names in a checkpoint stay; all blocks are alike and share one compilation
    if world.world_size == 1:
        return net
    if parallel == "ddp":
        return DistributedDataParallel(net, device_ids=[world.device] if world.device.type == "cuda" else None)
    mesh = init_device_mesh(world.device.type, (world.world_size,))
    for block in net.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


def gradient_sync(model: nn.Module, *, on: bool) -> contextlib.AbstractContextManager[None]:
    """Within it, backward exchanges gradients with the other ranks only if `on`: once a step, not once a part."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(on)
    if isinstance(model, DistributedDataParallel) and not on:
        return model.no_sync()
    return contextlib.nullcontext()
