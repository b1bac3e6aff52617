"""A module's state: what of it is filled in place, what goes through `load_state_dict`, and that it is there afterwards.

An entry of `state_dict()` that is a parameter's or buffer's own memory is filled in place: exact, and without a second copy. A module
of which some entry is a copy, or whose class or hooks take part in loading, is handed tensors of their own by `load_state_dict`.
What is live elsewhere in it is in that dict as it is: torch leaves a tensor alone that it is told to copy onto itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from trainyard import stored_forms

LOADING = ("state_dict", "load_state_dict", "_load_from_state_dict", "_save_to_state_dict")
HOOKS = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
EXTRA = "_extra_state"


def unwrap(module: nn.Module) -> nn.Module:
    """The user's module inside DDP and torch.compile."""
    while True:
        if isinstance(module, DistributedDataParallel):
            module = module.module
        elif isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = module._orig_mod  # type: ignore[assignment]
        else:
            return module


def plain_name(name: str) -> str:
    """A parameter's name without the wrappers inside it (compiled or checkpointed submodules)."""
    return name.replace("_orig_mod.", "").replace("_checkpoint_wrapped_module.", "")


@dataclass
class ModuleState:
    """What `state_dict()` of a module gives now, and how each entry is brought back."""

    module: nn.Module
    """Unwrapped."""
    entries: Any
    """The dict that `state_dict()` returned, under the module's own names; with its `_metadata`."""
    in_place: set[str] = field(default_factory=set)
    """Names (the module's own) of the tensors that are live memory and are filled there."""

    @property
    def is_loaded(self) -> bool:
        """True where the tensors go through `load_state_dict`."""
        return any(isinstance(entry, torch.Tensor) and name not in self.in_place for name, entry in self.tensors())

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """(the module's own name, tensor), without those of `get_extra_state`, which may be new at each call."""
        for name, entry in self.entries.items():
            if isinstance(entry, torch.Tensor) and not name.endswith(EXTRA):
                yield name, entry

    def others(self) -> Iterator[tuple[str, Any]]:
        """(the module's own name, value) of everything else."""
        for name, entry in self.entries.items():
            if not isinstance(entry, torch.Tensor) or name.endswith(EXTRA):
                yield name, entry


def state_of(module: nn.Module) -> ModuleState:
    inner = unwrap(module)
    state, live, prefixes = ModuleState(inner, inner.state_dict()), _live_memory(inner), tuple(taking_part(inner))
    for name, entry in state.tensors():
        if _is_live(entry, live) and not any(plain_name(name).startswith(prefix) for prefix in prefixes):
            state.in_place.add(name)
    return state


def taking_part(module: nn.Module) -> Iterator[str]:
    """Prefixes of the parts whose class or hooks, not torch's own, have a say in what is saved: only `load_state_dict` knows how."""
    for name, part in module.named_modules():
        if _overrides(type(part)) or _hooked(part):
            yield f"{plain_name(name + '.')}" if name else ""


def _overrides(kind: type) -> bool:
    for name in LOADING:
        definition = getattr(kind, name)
        if not (getattr(definition, "__module__", "") or "").startswith("torch."):
            return True
    return False


def _hooked(module: nn.Module) -> bool:
    if any(name in vars(module) for name in LOADING):  # a method put on the instance
        return True
    hooks = [hook for kind in HOOKS for hook in (getattr(module, kind, None) or {}).values()]
    return any(not (_module_of(hook) or "").startswith("torch.") for hook in hooks)


def _module_of(hook: Any) -> str | None:
    """Where the code of a hook is from; torch wraps those of users into a partial or an object of its own."""
    hook = getattr(hook, "hook", hook)
    hook = getattr(hook, "func", hook)
    found: str | None = getattr(hook, "__module__", None)
    return found


def memory_of(tensor: torch.Tensor) -> tuple[str, int]:
    local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
    return str(local.device), local.untyped_storage().data_ptr()


def _live_memory(module: nn.Module) -> set[tuple[str, int]]:
    live = [*module.parameters(), *module.buffers()]
    return {memory_of(tensor) for tensor in live if stored_forms.problem(tensor) is None and tensor.numel()}


def _is_live(entry: torch.Tensor, live: set[tuple[str, int]]) -> bool:
    entry = entry.detach()
    if stored_forms.problem(entry) is not None or entry.is_conj() or entry.is_neg():
        return False
    local = entry.to_local() if isinstance(entry, DTensor) else entry
    return local.numel() == 0 or memory_of(local) in live


# --- the way back ------------------------------------------------------------------------------------------------


def load(module: nn.Module, entries: Any) -> None:
    """`load_state_dict`, which is checked afterwards by what the module then says: so not strict, where it can be asked for that."""
    parameters = inspect.signature(module.load_state_dict).parameters
    if "strict" in parameters or any(parameter.kind == parameter.VAR_KEYWORD for parameter in parameters.values()):
        module.load_state_dict(entries, strict=False)
    else:
        module.load_state_dict(entries)
