"""From the objects of a training script to named tensors plus JSON, and back.

Names are the ones stock torch.distributed.checkpoint gives after flattening {"model": ..., "optimizer": ...}: `model.<parameter>`,
`optimizer.state.<parameter>.<slot>`. Everything else is `<object>.<path>`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from trainyard import codec
from trainyard.errors import MismatchError, TrainyardError

Objects = dict[str, Any]


@dataclass(frozen=True)
class PerRank:
    """Marks an object whose state differs from rank to rank, such as a loader that counts its own samples.

    Each rank's state is kept, and needs the same number of ranks to be restored; tensors cannot be in it. Of other objects rank 0's
    state is kept for all.
    """

    thing: Any


def unwrap(module: nn.Module) -> nn.Module:
    """The user's module inside DDP and torch.compile."""
    while True:
        if isinstance(module, DistributedDataParallel):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = module._orig_mod  # type: ignore[assignment]
        else:
            return module


def is_optimizer(value: Any) -> bool:
    """An optimizer whose state can be taken apart by parameter.

    One with a state_dict of its own is a container of others (torchtitan's) or a wrapper: what it holds itself may be empty, and its
    state_dict says what is to be kept.
    """
    return isinstance(value, torch.optim.Optimizer) and type(value).state_dict is torch.optim.Optimizer.state_dict


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
        elif is_optimizer(value):
            state[label] = codec.encode(_optimizer_state(label, value, names), label, put)
        elif isinstance(value, PerRank):
            state[label] = {"per_rank": True}
        else:
            state[label] = codec.encode(value.state_dict(), label, put)
    return tensors, state


def capture_per_rank(objects: Objects) -> dict[str, Any]:
    """{"objects": JSON by object} of those whose state is this rank's own; {} where there are none."""

    def refuse(path: str, tensor: torch.Tensor) -> None:
        raise TrainyardError(f"{path}: a tensor cannot be in the state of a PerRank object")

    own = {label: value.thing for label, value in objects.items() if isinstance(value, PerRank)}
    states = {label: codec.encode(thing.state_dict(), label, refuse) for label, thing in own.items()}
    return {"objects": states} if states else {}


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
        elif is_optimizer(value):
            for name, slots in saved[label]["state"].items():
                for entry in slots.values():
                    if isinstance(entry, dict) and "$tensor" in entry:
                        key = entry["$tensor"]
                        wanted[key] = make(key, by_name.get(name))
        elif not isinstance(value, PerRank):
            wanted.update(_stateful_targets(label, value, saved[label], make))
    return wanted


def _stateful_targets(
    label: str, value: Any, saved: Any, make: Callable[[str, torch.Tensor | None], torch.Tensor]
) -> dict[str, torch.Tensor]:
    """A tensor for each one that is saved of an object with state_dict; sharded where the object's own one is sharded now."""
    wanted: dict[str, torch.Tensor] = {}
    sharded: dict[str, torch.Tensor] | None = None

    def want(key: str) -> torch.Tensor:
        nonlocal sharded
        if sharded is None:  # asked for only where tensors were saved: it may be dear
            own: dict[str, torch.Tensor] = {}
            codec.encode(value.state_dict(), label, own.__setitem__)
            sharded = {name: tensor for name, tensor in own.items() if isinstance(tensor, DTensor)}
        return wanted.setdefault(key, make(key, sharded.get(key)))

    codec.decode(saved, want)
    return wanted


def _parameters(objects: Objects) -> dict[str, torch.Tensor]:
    names = parameter_names(objects)
    modules = [value for value in objects.values() if isinstance(value, nn.Module)]
    return {names[id(parameter)]: parameter for module in modules for parameter in unwrap(module).parameters()}


def apply(objects: Objects, saved: dict[str, Any], own: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Hand the restored state to every object, `own` to those of this rank; module tensors have been filled in place already."""
    names = parameter_names(objects)
    for label, value in objects.items():
        if isinstance(value, nn.Module):
            _load_extra_state(unwrap(value), saved[label], tensors)
        elif is_optimizer(value):
            _load_optimizer(label, value, codec.decode(saved[label], tensors.__getitem__), names)
        elif isinstance(value, PerRank):
            value.thing.load_state_dict(codec.decode(own[label], tensors.__getitem__))
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


def check_forms(objects: Objects, saved: dict[str, Any]) -> None:
    """What stands there for a module or an optimizer has the form of one, so that nothing below meets a missing member.

    A checkpoint that is intact may still be of another script. Raises MismatchError.
    """
    for label, value in objects.items():
        entry = saved[label]
        if isinstance(value, nn.Module) and not isinstance(entry, dict):
            raise MismatchError(f"{label} is a module here, and something else in the checkpoint")
        if is_optimizer(value) and not _is_optimizer_state(entry):
            raise MismatchError(f"{label} is an optimizer here, and something else in the checkpoint")


def _is_optimizer_state(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("state"), dict):
        return False
    groups, slots = entry.get("param_groups"), entry["state"].values()
    return (
        isinstance(groups, list)
        and all(isinstance(group, dict) and isinstance(group.get("params"), list) for group in groups)
        and all(isinstance(each, dict) for each in slots)
    )


def check_optimizers(objects: Objects, saved: dict[str, Any]) -> None:
    """The optimizers are of the same kind and have the same groups; torch itself would load one's state into another. Raises MismatchError."""
    names = parameter_names(objects)
    for label, value in objects.items():
        if is_optimizer(value):
            kind = saved[label].get("kind")
            if kind != type(value).__name__:
                raise MismatchError(f"{label} is {type(value).__name__} here, {kind} in the checkpoint")
            here = [[names[id(parameter)] for parameter in group["params"]] for group in value.param_groups]
            if here != [group["params"] for group in saved[label]["param_groups"]]:
                raise MismatchError(f"{label}: its parameter groups are not those of the checkpoint")


def check_per_rank(objects: Objects, saved: dict[str, Any], own: dict[str, Any], ranks: tuple[int, int]) -> None:
    """What is each rank's own here was so there, on as many ranks; `ranks` are those (there, here). Raises MismatchError."""
    for label, value in objects.items():
        is_own = isinstance(value, PerRank)
        if is_own != (saved[label] == {"per_rank": True}):
            raise MismatchError(f"{label} is {'' if is_own else 'not '}given as PerRank here, and otherwise in the checkpoint")
        if is_own and (label not in own or ranks[0] != ranks[1]):
            raise MismatchError(
                f"{label} has a state for each of {ranks[0]} ranks in the checkpoint, and there are {ranks[1]} here"
            )
