"""From the objects of a training script to named tensors plus JSON, and back.

Names are the ones stock torch.distributed.checkpoint gives after flattening {"model": ..., "optimizer": ...}: `model.<parameter>`,
`optimizer.state.<parameter>.<slot>`. Everything else is `<object>.<path>`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from trainyard import codec, optimizers
from trainyard.errors import MismatchError, TrainyardError
from trainyard.modules import plain_name, unwrap
from trainyard.optimizers import is_optimizer

Objects = dict[str, Any]
FOREIGN_ERRORS = (ArithmeticError, AssertionError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)
"""What the methods of anybody's object raise when they will not do what is asked."""


@dataclass(frozen=True)
class PerRank:
    """Marks an object whose state differs from rank to rank, such as a loader that counts its own samples.

    Each rank's state is kept, and needs the same number of ranks to be restored; tensors cannot be in it. Of other objects rank 0's
    state is kept for all.
    """

    thing: Any


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


def _modules(objects: Objects) -> Iterator[tuple[str, nn.Module]]:
    yield from ((label, unwrap(value)) for label, value in objects.items() if isinstance(value, nn.Module))


def parameters(objects: Objects) -> dict[str, torch.Tensor]:
    """Name -> parameter; those of a module that is not called "model" carry the module's name in front."""
    return {
        plain_name(name) if label == "model" else f"{label}.{plain_name(name)}": parameter
        for label, module in _modules(objects)
        for name, parameter in module.named_parameters()
    }


def parameter_names(objects: Objects) -> dict[int, str]:
    """id(parameter) -> its name."""
    return {id(parameter): name for name, parameter in parameters(objects).items()}


def trainable_keys(objects: Objects) -> set[str]:
    """Keys of the parameters: the tensors in which NaN or Inf keeps a snapshot from being committed."""
    return {f"{label}.{plain_name(name)}" for label, module in _modules(objects) for name, _ in module.named_parameters()}


def buffer_keys(objects: Objects) -> set[str]:
    """Keys of module buffers: DDP takes rank 0's at every forward, so rank 0's is the one to save."""
    return {f"{label}.{plain_name(name)}" for label, module in _modules(objects) for name, _ in module.named_buffers()}


# --- saving ------------------------------------------------------------------------------------------------------


def capture(
    objects: Objects, note: Callable[[str, type], None] | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """(tensors by key, JSON by object). The tensors are the live ones: copy before training goes on.

    `note(path, class)` hears of values that come back as a plain type.
    """
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
            entries = _state_of(label, unwrap(value)).items()
            state[label] = {name: codec.encode(entry, f"{label}.{name}", put, note) for name, entry in _plain(entries)}
        elif is_optimizer(value):
            state[label] = optimizers.encode(label, value, names, put, note)
        elif isinstance(value, PerRank):
            state[label] = {"per_rank": True}
        else:
            state[label] = codec.encode(_state_of(label, value), label, put, note)
    return tensors, state


def _state_of(label: str, value: Any) -> Any:
    try:
        return value.state_dict()
    except FOREIGN_ERRORS as error:
        raise TrainyardError(f"{label}: {type(value).__name__}.state_dict() failed: {type(error).__name__}: {error}") from error


def _plain(entries: Any) -> Iterator[tuple[str, Any]]:
    yield from ((plain_name(name), entry) for name, entry in entries)


def capture_per_rank(objects: Objects) -> dict[str, Any]:
    """{"objects": JSON by object} of those whose state is this rank's own; {} where there are none."""

    def refuse(path: str, tensor: torch.Tensor) -> None:
        raise TrainyardError(f"{path}: a tensor cannot be in the state of a PerRank object")

    own = {label: value.thing for label, value in objects.items() if isinstance(value, PerRank)}
    states = {label: codec.encode(thing.state_dict(), label, refuse) for label, thing in own.items()}
    return {"objects": states} if states else {}


# --- does it fit? -------------------------------------------------------------------------------------------------


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
    """The optimizers are of the same kind and have the same groups. Raises MismatchError."""
    names = parameter_names(objects)
    for label, value in objects.items():
        if is_optimizer(value):
            optimizers.check(label, value, saved[label], names)


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
