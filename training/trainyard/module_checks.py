"""What of a module its own state_dict() would lose, seen at the first step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from trainyard.errors import ConfigError
from trainyard.modules import ModuleState, memory_of, plain_name


def check(label: str, state: ModuleState) -> list[str]:
    """Returns what should be said; raises ConfigError for what a restart would lose or could not take."""
    notes = [*_rounded(label, state)]
    for name, tensor in _left_out(state):
        if tensor.requires_grad:
            raise ConfigError(
                f"{label}.{name} is trained and not in the state_dict() of {label}: a restart would begin with its initial values. Let "
                "state_dict() hold it, or freeze it (requires_grad_(False))"
            )
        if not isinstance(tensor, nn.Parameter):
            notes.append(f"{label}.{name} is not in the state_dict() of {label}: a restart begins with its initial values")
    for name, part in state.module.named_modules():
        kind = type(part)
        if kind.get_extra_state is not nn.Module.get_extra_state and kind.set_extra_state is nn.Module.set_extra_state:
            raise ConfigError(
                f"{label}.{name}".rstrip(".") + f": {kind.__name__} has get_extra_state and no set_extra_state: write one"
            )
    for name, tensor in state.tensors():
        if name not in state.in_place and 0 in tensor.stride() and _is_expanded(state.module, name):
            raise ConfigError(
                f"{label}.{plain_name(name)} is expanded, which load_state_dict cannot fill: keep a copy (clone) of it"
            )
    return notes


def _rounded(label: str, state: ModuleState) -> Iterator[str]:
    """The first entry that is a rounded copy of a parameter: it is restored as it was saved, and the training had more."""
    parameters = dict(state.module.named_parameters())
    for name, entry in state.tensors():
        live = parameters.get(name)
        if live is not None and live.is_floating_point() and entry.is_floating_point() and entry.itemsize < live.itemsize:
            yield (
                f"{label}.{plain_name(name)} is {live.dtype} and its state_dict() gives {entry.dtype}: a restart goes on from rounded "
                "weights. Let state_dict() keep the type"
            )
            return


def _left_out(state: ModuleState) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of parameters and persistent buffers that no entry holds, as far as names and memory show.

    Entries under other names may be copies of anything: then only what is too much for all of them counts.
    """
    entries = [(plain_name(name), entry) for name, entry in state.tensors()]
    names, memory = {name for name, _ in entries}, {memory_of(entry) for _, entry in entries if entry.numel()}
    live = [(plain_name(name), tensor) for name, tensor in _persistent(state.module)]
    left = [(name, tensor) for name, tensor in live if tensor.numel() and name not in names and memory_of(tensor) not in memory]
    unknown = sum(entry.numel() for name, entry in entries if name not in {name for name, _ in live})
    if unknown < sum(tensor.numel() for _, tensor in left):
        yield from left


def _persistent(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters()
    for path, part in module.named_modules():
        for name, buffer in part._buffers.items():
            if buffer is not None and name not in part._non_persistent_buffers_set:
                yield f"{path}.{name}".lstrip("."), buffer


def _is_expanded(module: nn.Module, name: str) -> bool:
    live = dict(_persistent(module)).get(name)
    return live is not None and any(stride == 0 and size > 1 for stride, size in zip(live.stride(), live.shape, strict=True))
