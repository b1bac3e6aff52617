"""What Lightning modules, callbacks and datamodules keep in `on_save_checkpoint`, and what cannot be kept of them.

A hook is given a checkpoint as Lightning's own would be at that point, and what it adds is saved. One that changes what was in there
before (an average in place of the weights) would have to be undone at every restart: it is refused before the first step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.core.hooks import CheckpointHooks

from trainyard.errors import ConfigError

HOOKS = ("on_save_checkpoint", "on_load_checkpoint")


class Hooks:
    """The hooks of one trainer, by the name of whose they are."""

    def __init__(self, trainer: Trainer, module: LightningModule, callbacks: list[Callback]) -> None:
        self._trainer, self._module = trainer, module
        own: list[tuple[str, Any, tuple[Any, ...]]] = [
            (callback.state_key, callback, (trainer, module)) for callback in callbacks
        ]
        plain: list[Any] = [module, *([trainer.datamodule] if trainer.datamodule else [])]
        own += [(type(thing).__qualname__, thing, ()) for thing in plain]
        self._holders = [holder for holder in own if any(_is_overridden(holder[1], hook) for hook in HOOKS)]

    def check(self) -> None:
        """Raises ConfigError where a hook changes what is not its own."""
        self.state_dict()

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """{whose: what its hook adds}."""
        return {
            name: self._added(name, getattr(thing, HOOKS[0], _add_nothing), arguments)
            for name, thing, arguments in self._holders
        }

    def load_state_dict(self, saved: dict[str, dict[str, Any]]) -> None:
        for name, thing, arguments in self._holders:
            if name in saved:  # a checkpoint of an older version has none
                getattr(thing, HOOKS[1], _add_nothing)(*arguments, {**self._base(), **saved[name]})

    def _added(self, name: str, hook: Callable[..., None], arguments: tuple[Any, ...]) -> dict[str, Any]:
        base = self._base()
        checkpoint = {**base, "state_dict": dict(base["state_dict"])}
        hook(*arguments, checkpoint)
        weights: Any = checkpoint.get("state_dict")
        is_same = isinstance(weights, dict) and weights.keys() == base["state_dict"].keys()
        if not is_same or any(weights[key] is not value for key, value in base["state_dict"].items()):
            raise ConfigError(
                f"{name}.on_save_checkpoint changes the checkpoint's state_dict, so what it would restore is not what was trained: "
                "keep its state in state_dict() and load_state_dict(), or train without it"
            )
        return {key: value for key, value in checkpoint.items() if key not in base}

    def _base(self) -> dict[str, Any]:
        return {
            "epoch": self._trainer.current_epoch,
            "global_step": self._trainer.global_step,
            "state_dict": self._module.state_dict(),
        }


def _is_overridden(thing: Any, hook: str) -> bool:
    """Also by an instance's own attribute, as a LambdaCallback does it. A LightningDataModule has neither hook of itself."""
    bases = (Callback, LightningModule, LightningDataModule, CheckpointHooks)
    found = getattr(thing, hook, None)
    return found is not None and getattr(found, "__func__", None) not in [getattr(base, hook, None) for base in bases]


def _add_nothing(*_: Any) -> None:
    """Stands for the hook that a datamodule does not have."""


def refuse_what_is_lost(trainer: Trainer) -> None:
    """Raises ConfigError, by name, for what a resumed fit would do in another way."""
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau and config.interval == "step":
            raise ConfigError(
                f"a {type(config.scheduler).__name__} with interval='step' looks at a metric that Lightning forgets at a restart: "
                "give it interval='epoch'"
            )
