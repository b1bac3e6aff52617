"""What cannot be saved and restored exactly, found when the Checkpointer is made: each by its name, and with the way out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from trainyard import optimizers, stored_forms
from trainyard.errors import ConfigError
from trainyard.modules import plain_name, unwrap
from trainyard.objects import Objects, PerRank, parameter_names

FSDP2 = "use FSDP2 (torch.distributed.fsdp.fully_shard), which keeps each parameter a DTensor of its own, or DDP"
ADAMW = "use the optimizer on FSDP2's parameters (torch.distributed.fsdp.fully_shard), whose state is sharded with them"
OWN_SHARDING = {
    "deepspeed": "DeepSpeed shards and flattens in a way of its own, and saves itself: model_engine.save_checkpoint",
    "fairscale": f"fairscale shards and flattens in a way of its own: {FSDP2}",
    "megatron": "Megatron shards in a way of its own, and saves itself: megatron.core.dist_checkpointing",
    "apex": "apex's distributed optimizers shard in a way of their own, and save themselves",
    "colossalai": "ColossalAI shards in a way of its own, and saves itself: booster.save_model",
}
"""Top package of a wrapper, an engine or an optimizer -> why not, and what else."""


def check_objects(objects: Objects) -> None:
    """Raises ConfigError for what could never be restored as it was."""
    for label, value in objects.items():
        thing = value.thing if isinstance(value, PerRank) else value
        _check_kind(label, thing)
        if isinstance(value, nn.Module):
            for name, part in value.named_modules():
                _check_kind(f"{label}.{name}".rstrip("."), part)
            for key, tensor in _live_tensors(label, value):
                _check_parts(key, tensor)
                stored_forms.check(key, tensor)
                _check_memory(key, tensor)
    names = parameter_names(objects)
    for label, value in objects.items():
        if optimizers.is_optimizer(value):
            for group in value.param_groups:
                for parameter in group["params"]:
                    optimizers.name_of(label, parameter, names)


def _check_kind(label: str, thing: Any) -> None:
    if isinstance(thing, FullyShardedDataParallel):
        raise ConfigError(
            f"{label}: FullyShardedDataParallel (FSDP1) flattens parameters, which cannot be saved exactly here: {FSDP2}"
        )
    kinds = [kind for kind in type(thing).__mro__ if kind is not object]
    if any(kind.__name__ == "ZeroRedundancyOptimizer" for kind in kinds):
        raise ConfigError(f"{label}: ZeroRedundancyOptimizer keeps another state on each rank: {ADAMW}")
    for kind in kinds:
        package = kind.__module__.partition(".")[0]
        if package in OWN_SHARDING and _is_sharding(thing, kind):
            raise ConfigError(f"{label} is {type(thing).__name__} of {package}: {OWN_SHARDING[package]}")


def _is_sharding(thing: Any, kind: type) -> bool:
    """An engine, a wrapper or an optimizer of such a package; its plain layers, fused optimizers and schedules are like anybody's."""
    if kind.__module__.startswith("apex."):  # its DistributedDataParallel is an ordinary one
        return isinstance(thing, torch.optim.Optimizer) and "Distributed" in kind.__name__
    words = ("Engine", "ZeRO", "Zero", "Sharded", "Distributed", "OSS", "Optimizer", "Gemini", "Pipeline")
    return not isinstance(thing, torch.optim.lr_scheduler.LRScheduler) and any(word in kind.__name__ for word in words)


def _live_tensors(label: str, module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The parameters, and the buffers that are saved."""
    inner = unwrap(module)
    for name, parameter in inner.named_parameters():
        yield f"{label}.{plain_name(name)}", parameter
    for path, part in inner.named_modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and name not in part._non_persistent_buffers_set:
                yield f"{label}.{plain_name(f'{path}.{name}'.lstrip('.'))}", buffer


def _check_parts(key: str, tensor: torch.Tensor) -> None:
    """Parameters that look whole and hold this rank's part: Megatron and DeepSpeed ZeRO-3 mark them. Raises ConfigError."""
    for mark, package in (("tensor_model_parallel", "megatron"), ("ds_id", "deepspeed")):
        if getattr(tensor, mark, False) is not False:
            raise ConfigError(f"{key} is this rank's part of a parameter: {OWN_SHARDING[package]}")


def _check_memory(key: str, tensor: torch.Tensor) -> None:
    """Elements that share memory otherwise than by expand cannot be given back one by one. Raises ConfigError."""
    if isinstance(tensor, torch.distributed.tensor.DTensor) or not tensor.numel():
        return
    reach = 0
    steps = [(stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1 and stride > 0]
    for stride, size in sorted(steps):
        if stride <= reach:
            raise ConfigError(f"{key}: its elements overlap in memory; keep a copy of its own (clone) in the module")
        reach += stride * (size - 1)
