"""What a restore fills, and how each object gets it: first what may refuse, then optimizers and modules, then the look at the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from trainyard import codec, modules, optimizers, schedules
from trainyard.errors import MismatchError
from trainyard.modules import ModuleState, plain_name
from trainyard.objects import FOREIGN_ERRORS, Objects, PerRank, parameters
from trainyard.optimizers import Make, is_optimizer

SMALL_BYTES = 1 << 20
"""A tensor of a stateful object up to this size is restored on the device of the object's own: a learning rate, a counter."""
Note = Callable[[str], None]
"""Hears what came back, and not quite as it was."""


@dataclass
class Targets:
    """Where the saved tensors go."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    """key -> live memory, or a tensor made for the object to be handed."""
    modules: dict[str, ModuleState] = field(default_factory=dict)
    live: dict[str, Any] = field(default_factory=dict)
    """Object -> the state that it has before it is restored: classes that only the script knows are taken from it."""
    left_out: set[str] = field(default_factory=set)
    """Keys of module tensors that stay as they are."""


def targets(objects: Objects, saved: dict[str, Any], own: dict[str, Any], make: Make) -> Targets:
    """Changes nothing. `own` is what this rank's PerRank objects saved."""
    found, by_name = Targets(), parameters(objects)
    for label, value in objects.items():
        if isinstance(value, nn.Module):
            found.modules[label] = modules.state_of(value)
            found.tensors.update(_module_targets(label, found.modules[label], saved[label], make))
        elif is_optimizer(value):
            found.tensors.update(optimizers.targets(value, saved[label], by_name, make))
        else:
            found.live[label] = _live(value, own[label] if isinstance(value, PerRank) else saved[label])
            found.tensors.update(_stateful_targets(label, found.live[label], saved[label], make))
    return found


def _module_targets(label: str, state: ModuleState, saved: dict[str, Any], make: Make) -> dict[str, torch.Tensor]:
    wanted: dict[str, torch.Tensor] = {}
    for name, entry in state.tensors():
        key = f"{label}.{plain_name(name)}"
        wanted[key] = entry
        if name not in state.in_place and any(codec.references(saved.get(plain_name(name)))):
            wanted[key] = make(key, entry if isinstance(entry, DTensor) else None, torch.device("cpu"))
    for name, _ in state.others():
        for reference in codec.references(saved.get(plain_name(name))):
            wanted[reference["$tensor"]] = make(reference["$tensor"], None, torch.device("cpu"))
    return wanted


def _live(value: Any, saved: Any) -> Any:
    """The object's state now, asked for only where it is needed, for it may be dear: tensors, or classes of the script's own."""
    is_schedule = isinstance(value, torch.optim.lr_scheduler.LRScheduler)
    if is_schedule or any(codec.references(saved)) or codec.needs_live(saved):
        return (value.thing if isinstance(value, PerRank) else value).state_dict()
    return codec.MISSING


def _stateful_targets(label: str, live: Any, saved: Any, make: Make) -> dict[str, torch.Tensor]:
    """A tensor for each one that is saved of an object with state_dict; sharded where the object's own one is sharded now."""
    keys = [reference["$tensor"] for reference in codec.references(saved)]
    own: dict[str, torch.Tensor] = {}
    if keys:
        codec.encode(live, label, own.__setitem__)
    wanted: dict[str, torch.Tensor] = {}
    for key in keys:
        like = own.get(key)
        device = like.device if like is not None and like.nbytes <= SMALL_BYTES else torch.device("cpu")
        wanted[key] = make(key, like if isinstance(like, DTensor) else None, device)
    return wanted


# --- handing it over ---------------------------------------------------------------------------------------------


def check_before(objects: Objects, saved: dict[str, Any], own: dict[str, Any], found: Targets) -> None:
    """Ask the objects that can say it without a change whether they take this state. Raises MismatchError."""
    for label, value in objects.items():
        thing = value.thing if isinstance(value, PerRank) else value
        is_module = isinstance(thing, nn.Module) or is_optimizer(thing)
        if not is_module and callable(getattr(thing, "check_state_dict", None)):
            state = own[label] if isinstance(value, PerRank) else saved[label]
            asked = codec.decode(state, found.tensors.__getitem__, found.live[label])
            try:
                thing.check_state_dict(asked)
            except FOREIGN_ERRORS as error:
                raise MismatchError(f"{label}: {type(thing).__name__} does not take what was saved: {error}") from error


def notes_on_lengths(objects: Objects, saved: dict[str, Any]) -> list[str]:
    """What to say of schedules that were made for another number of steps than the saved ones."""
    found = []
    for label, value in objects.items():
        is_other = not isinstance(value, nn.Module | PerRank) and not is_optimizer(value)
        if is_other and schedules.has_lengths(saved[label]):
            found += schedules.lengths_that_differ(label, saved[label], value.state_dict())
    return found


def load_others(objects: Objects, saved: dict[str, Any], own: dict[str, Any], found: Targets, note: Note) -> None:
    """The objects that are neither modules nor optimizers. They may refuse, so they come before any weight is changed."""
    for label, value in objects.items():
        if isinstance(value, nn.Module) or is_optimizer(value):
            continue
        thing, state = (value.thing, own[label]) if isinstance(value, PerRank) else (value, saved[label])
        with refusal(label, thing):
            thing.load_state_dict(codec.decode(state, found.tensors.__getitem__, found.live[label], _plain(note), label))
        if isinstance(thing, torch.optim.Optimizer):
            _compare_types(label, thing.state_dict(), found, note)


def _compare_types(label: str, state: Any, found: Targets, note: Note) -> None:
    """A wrapper of optimizers loads by `Optimizer.load_state_dict`, which casts state to its parameter's type."""
    now: dict[str, torch.Tensor] = {}
    codec.encode(state, label, now.__setitem__)
    for key, tensor in now.items():
        saved = found.tensors.get(key)
        if saved is not None and saved.dtype != tensor.dtype:
            note(
                f"{key} was {saved.dtype} and is {tensor.dtype} after the load_state_dict of {label}: give the Checkpointer the optimizer "
                "inside it instead"
            )
            return


def _plain(note: Note) -> Callable[[str, str], None]:
    return lambda path, what: note(f"{path} comes back as a plain value: it was {what}")


def load_optimizers(objects: Objects, saved: dict[str, Any], found: Targets, note: Note) -> None:
    by_name = parameters(objects)
    for label, value in objects.items():
        if is_optimizer(value):
            with refusal(label, value):
                state = codec.decode(saved[label], found.tensors.__getitem__, optimizers.live(value), _plain(note), label)
                optimizers.load(value, state, by_name)


def load_modules(saved: dict[str, Any], found: Targets, note: Note) -> None:
    """What is not filled in place, and extra state, through each module's `load_state_dict`."""
    for label, state in found.modules.items():
        others = {
            name: codec.decode(
                saved[label][plain_name(name)], found.tensors.__getitem__, value, _plain(note), f"{label}.{name}"
            )
            for name, value in state.others()
            if plain_name(name) in saved[label]
        }
        entries: Any = others
        if state.is_loaded:
            entries = state.entries.copy()  # keeps its _metadata, which says in which form the entries are
            given = {name: f"{label}.{plain_name(name)}" for name, _ in state.tensors()}
            entries.update({name: found.tensors[key] for name, key in given.items() if key not in found.left_out} | others)
            if hasattr(state.entries, "_metadata"):
                entries._metadata = state.entries._metadata
        if entries:
            with refusal(label, state.module):
                modules.load(state.module, entries)
            now = state.module.state_dict() if others else {}
            for name in others:
                key, kept = f"{label}.{plain_name(name)}", saved[label][plain_name(name)]
                if name not in now or codec.encode(now[name], key, lambda path, tensor: None) != kept:
                    note(f"{key} is not what was saved after the load_state_dict of {label}")


def loaded_tensors(found: Targets) -> Iterator[tuple[str, torch.Tensor]]:
    """(key, tensor) as each module gives it now, of those that went through its `load_state_dict`."""
    for label, state in found.modules.items():
        if state.is_loaded:
            now = state.module.state_dict()
            for name, _ in state.tensors():
                if not isinstance(now.get(name), torch.Tensor):
                    raise MismatchError(
                        f"{label}.{plain_name(name)} was loaded, and is not in the state_dict() of {label} any more"
                    )
                yield f"{label}.{plain_name(name)}", now[name]


@contextmanager
def refusal(label: str, thing: Any) -> Iterator[None]:
    """An object's own refusal, as MismatchError that says which one it was and that nobody may train on."""
    try:
        yield
    except MismatchError as error:
        raise MismatchError(f"{label}: {error}; it is partly loaded by now: end this process") from error
    except FOREIGN_ERRORS as error:
        raise MismatchError(
            f"{label}: {type(thing).__name__}.load_state_dict refused what was saved ({type(error).__name__}: {error}); "
            "objects may be partly loaded by now: end this process"
        ) from error
