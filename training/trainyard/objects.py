"""From the objects of a training script to named tensors plus JSON, and back.

Names are the ones stock torch.distributed.checkpoint gives after flattening {"model": ..., "optimizer": ...}: `model.<parameter>`,
`optimizer.state.<parameter>.<slot>`. Everything else is `<object>.<path>`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from trainyard import codec
from trainyard.errors import MismatchError, TrainyardError

Objects = dict[str, Any]


def unwrap(module: nn.Module) -> nn.Module:
    """The user's module inside DDP and torch.compile."""
    while True:
        if isinstance(module, DistributedDataParallel):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = module._orig_mod  # type: ignore[assignment]
        else:
            return module


def reshard(objects: Objects) -> None:
    """Bring FSDP2 modules back to their shards.

    After a forward without backward the root keeps its gathered parameters, and those are neither what is saved nor what
    the optimizer holds.
    """
    for value in objects.values():
        if isinstance(value, nn.Module):
            for module in value.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()


def plain_name(name: str) -> str:
    """A parameter's name without the wrappers inside it (compiled or checkpointed submodules)."""
    return name.replace("_orig_mod.", "").replace("_checkpoint_wrapped_module.", "")


def parameter_names(objects: Objects) -> dict[int, str]:
    """id(parameter) -> its name; parameters of a module that is not called "model" carry the module's name in front."""
    names: dict[int, str] = {}
    for label, value in objects.items():
        if isinstance(value, nn.Module):
            for name, parameter in unwrap(value).named_parameters():
                names[id(parameter)] = plain_name(name) if label == "model" else f"{label}.{plain_name(name)}"
    return names


def trainable_keys(objects: Objects) -> set[str]:
    """Keys of the parameters: the tensors in which NaN or Inf keeps a snapshot from being committed."""
    return {
        f"{label}.{plain_name(name)}"
        for label, value in objects.items()
        if isinstance(value, nn.Module)
        for name, _ in unwrap(value).named_parameters()
    }


def buffer_keys(objects: Objects) -> set[str]:
    """Keys of module buffers: DDP takes rank 0's at every forward, so rank 0's is the one to save."""
    return {
        f"{label}.{plain_name(name)}"
        for label, value in objects.items()
        if isinstance(value, nn.Module)
        for name, _ in unwrap(value).named_buffers()
    }


def capture(objects: Objects) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors by key, JSON by object). The tensors are the live ones: copy before training goes on."""
    reshard(objects)
    tensors: dict[str, torch.Tensor] = {}

    def put(key: str, tensor: torch.Tensor) -> None:
        if key in tensors:
            raise TrainyardError(f"two tensors would be called {key!r} in the checkpoint; rename one of the objects")
        tensors[key] = tensor.detach()

    state: dict[str, Any] = {}
    names = parameter_names(objects)
    for label, value in objects.items():
        if isinstance(value, nn.Module):
            entries = {plain_name(name): entry for name, entry in unwrap(value).state_dict().items()}
            state[label] = codec.encode(entries, label, put)
        elif isinstance(value, torch.optim.Optimizer):
            state[label] = codec.encode(_optimizer_state(label, value, names), label, put)
        else:
            state[label] = codec.encode(value.state_dict(), label, put)
    return tensors, state


def _optimizer_state(label: str, optimizer: torch.optim.Optimizer, names: dict[int, str]) -> dict[str, Any]:
    groups = []
    for group in optimizer.param_groups:
        own = [_named(label, parameter, names) for parameter in group["params"]]
        groups.append({**{key: value for key, value in group.items() if key != "params"}, "params": own})
    state = {_named(label, parameter, names): dict(slots) for parameter, slots in optimizer.state.items()}
    return {"kind": type(optimizer).__name__, "state": state, "param_groups": groups}


def _named(label: str, parameter: torch.Tensor, names: dict[int, str]) -> str:
    if id(parameter) not in names:
        raise TrainyardError(
            f"{label} holds a parameter of shape {tuple(parameter.shape)} of no module given to the Checkpointer"
        )
    return names[id(parameter)]


def targets(
    objects: Objects, saved: dict[str, Any], make: Callable[[str, torch.Tensor | None], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """key -> tensor that a restore fills: live tensors of modules, and fresh ones for everything else.

    `make(key, like)` builds a fresh tensor for a saved key; `like` is the parameter that an optimizer slot belongs to.
    """
    wanted: dict[str, torch.Tensor] = {}
    by_name = _parameters(objects)
    for label, value in objects.items():
        if isinstance(value, nn.Module):
            for name, entry in unwrap(value).state_dict().items():
                if isinstance(entry, torch.Tensor):
                    wanted[f"{label}.{plain_name(name)}"] = entry
        elif isinstance(value, torch.optim.Optimizer):
            for name, slots in saved[label]["state"].items():
                for entry in slots.values():
                    if isinstance(entry, dict) and "$tensor" in entry:
                        key = entry["$tensor"]
                        wanted[key] = make(key, by_name.get(name))
        else:
            codec.decode(saved[label], lambda key: wanted.setdefault(key, make(key, None)))
    return wanted


def _parameters(objects: Objects) -> dict[str, torch.Tensor]:
    names = parameter_names(objects)
    modules = [value for value in objects.values() if isinstance(value, nn.Module)]
    return {names[id(parameter)]: parameter for module in modules for parameter in unwrap(module).parameters()}


def apply(objects: Objects, saved: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Hand the restored state to every object; module tensors have been filled in place already."""
    names = parameter_names(objects)
    for label, value in objects.items():
        if isinstance(value, nn.Module):
            _load_extra_state(unwrap(value), saved[label], tensors)
        elif isinstance(value, torch.optim.Optimizer):
            _load_optimizer(label, value, codec.decode(saved[label], tensors.__getitem__), names)
        else:
            value.load_state_dict(codec.decode(saved[label], tensors.__getitem__))


def _load_extra_state(module: nn.Module, saved: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """`get_extra_state` values that are no tensors; tensors stand in the module already."""
    extra = {key: codec.decode(value, tensors.__getitem__) for key, value in saved.items() if key.endswith("_extra_state")}
    if extra:
        module.load_state_dict(extra, strict=False)


def _load_optimizer(label: str, optimizer: torch.optim.Optimizer, saved: dict[str, Any], names: dict[int, str]) -> None:
    """Names back to the positions that `Optimizer.load_state_dict` counts by."""
    current = [[names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups]
    positions = {name: i for i, name in enumerate(name for group in current for name in group)}
    numbered = [{**group, "params": [positions[name] for name in group["params"]]} for group in saved["param_groups"]]
    state = {positions[name]: slots for name, slots in saved["state"].items()}
    optimizer.load_state_dict({"state": state, "param_groups": numbered})


def check_labels(objects: Objects, saved: dict[str, Any]) -> None:
    """The script and the checkpoint name the same objects. Raises MismatchError."""
    missing, unknown = sorted(set(objects) - set(saved)), sorted(set(saved) - set(objects))
    if missing or unknown:
        raise MismatchError(
            "the checkpoint is of another script: "
            + "; ".join(
                part
                for part in (
                    f"it has no {', '.join(missing)}" if missing else "",
                    f"it also has {', '.join(unknown)}, given to no object here" if unknown else "",
                )
                if part
            )
        )


def check_optimizers(objects: Objects, saved: dict[str, Any]) -> None:
    """The optimizers are of the same kind and have the same groups; torch itself would load one's state into another. Raises MismatchError."""
    names = parameter_names(objects)
    for label, value in objects.items():
        if isinstance(value, torch.optim.Optimizer):
            kind = saved[label].get("kind")
            if kind != type(value).__name__:
                raise MismatchError(f"{label} is {type(value).__name__} here, {kind} in the checkpoint")
            here = [[names[id(parameter)] for parameter in group["params"]] for group in value.param_groups]
            if here != [group["params"] for group in saved[label]["param_groups"]]:
                raise MismatchError(f"{label}: its parameter groups are not those of the checkpoint")
