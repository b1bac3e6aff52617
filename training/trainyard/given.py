"""What a script hands to the Checkpointer, brought to what is saved of it; what could not be resumed is refused by name."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from trainyard.data import GlobalOrder
from trainyard.errors import ConfigError
from trainyard.loader import ResumableLoader
from trainyard.objects import PerRank

DATA_WORDS = ("data", "loader", "sampler", "order", "batches", "stream")
"""In the name of a thing that keeps the place in the data, if its class does not say so."""
OWNED_BY = {"accelerate.utils.deepspeed": "DeepSpeed", "accelerate.utils.megatron_lm": "Megatron-LM"}
"""Modules of Accelerate whose wrappers hold no state that could be saved from outside."""
NO_DATA = (
    "the place in the data is not saved, because no loader was given to the Checkpointer: after a restart the run would see samples "
    "twice and others never. Give it data=trainyard.ResumableLoader(dataset, batch_size=...) in place of the DataLoader, or "
    "data=None if the data has no place to keep"
)


def resolve(things: dict[str, Any]) -> dict[str, Any]:
    """The things to save: those that are None left out, Accelerate's wrappers taken off. Raises ConfigError."""
    return {label: _resolved(label, thing) for label, thing in things.items() if thing is not None}


def _resolved(label: str, thing: Any) -> Any:
    inner = thing.thing if isinstance(thing, PerRank) else thing
    module, name = type(inner).__module__, type(inner).__name__
    if module in OWNED_BY:
        raise ConfigError(f"{label}: a {name} is {OWNED_BY[module]}'s, which keeps its state itself; train with DDP or FSDP2")
    if isinstance(inner, DataLoader) and not _knows_its_place(inner):
        raise ConfigError(
            f"{label}: a {name} cannot say where it stands, so a resumed run would see samples twice and others never: "
            "put trainyard.ResumableLoader(dataset, batch_size) in its place, which needs no accelerator.prepare"
        )
    if module.startswith("accelerate.") and name == "Accelerator":
        raise ConfigError(
            f"{label}: give what accelerator.prepare() returned, each thing by a name of its own, not the Accelerator"
        )
    if module.startswith("accelerate.") and name in ("AcceleratedOptimizer", "AcceleratedScheduler"):
        return inner.optimizer if name == "AcceleratedOptimizer" else inner.scheduler
    return thing


def _knows_its_place(loader: DataLoader[Any]) -> bool:
    """Accelerate's has a state_dict, which is empty unless it wraps a loader of torchdata's."""
    return hasattr(loader, "load_state_dict") and bool(getattr(loader, "use_stateful_dataloader", True))


def keeps_place(things: dict[str, Any]) -> bool:
    """Whether one of the things, as the script gave them, keeps the place in the data; `data=None` says that there is none."""
    return any(label == "data" or _is_loader(label, thing) for label, thing in things.items())


def _is_loader(label: str, thing: Any) -> bool:
    inner = thing.thing if isinstance(thing, PerRank) else thing
    if inner is None or isinstance(inner, nn.Module | Optimizer):
        return False
    known = isinstance(inner, ResumableLoader | GlobalOrder) or hasattr(inner, "__iter__")
    return known or any(word in label.lower() for word in DATA_WORDS)


def loaders(things: dict[str, Any]) -> list[ResumableLoader]:
    """The loaders among the things whose position can be followed; `data` first."""
    inner = {label: thing.thing if isinstance(thing, PerRank) else thing for label, thing in things.items()}
    found = {label: thing for label, thing in inner.items() if isinstance(thing, ResumableLoader)}
    return sorted(found.values(), key=lambda loader: loader is not found.get("data"))


def draws_from_training(things: dict[str, Any]) -> str | None:
    """The name of a loader that takes its seeds from the training's random numbers; None where there is none."""
    for label, thing in things.items():
        inner = thing.thing if isinstance(thing, PerRank) else thing
        if isinstance(inner, DataLoader) and inner.generator is None:
            return label
    return None
