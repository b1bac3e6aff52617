"""When a step is saved, and how long it is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass

from trainyard.errors import ConfigError
from trainyard.patience import READ_TIMEOUT_S, Patience


@dataclass(frozen=True, kw_only=True)
class SavePolicy:
    """Snapshots by step, and what the tiers keep. Checks itself once."""

    rolling_steps: int = 250
    """Optimizer steps between rolling snapshots."""
    keep_rolling: int = 10
    """Newest rolling checkpoints that stay."""
    keep_epochs: int = 5
    """Newest end-of-epoch checkpoints that stay."""
    part_timeout_s: float = 600.0
    """Rank 0 gives a save up when a rank's part is not there after this long; the older checkpoints stand."""
    peer_timeout_s: float = 300.0
    """A rank that does not answer at a step for this long is taken for gone."""
    read_timeout_s: float = READ_TIMEOUT_S
    """At restore a file that cannot be read, or is missing, is tried again for this long; at most half of `peer_timeout_s`."""

    def __post_init__(self) -> None:
        for name in ("rolling_steps", "keep_rolling"):
            if getattr(self, name) < 1:
                raise ConfigError(f"SavePolicy.{name} must be at least 1, not {getattr(self, name)}")
        if self.keep_epochs < 0:
            raise ConfigError(f"SavePolicy.keep_epochs must not be negative, it is {self.keep_epochs}")

    @property
    def patience(self) -> Patience:
        """For reading: shorter than the other ranks wait for this one."""
        return Patience(min(self.read_timeout_s, self.peer_timeout_s / 2))

    @classmethod
    def from_environment(cls) -> SavePolicy:
        """The job file's `checkpoints` part, as the engine passes it on; defaults for what it does not say."""
        names = {
            "rolling_steps": "TRAINYARD_ROLLING_STEPS",
            "keep_rolling": "TRAINYARD_KEEP_ROLLING",
            "keep_epochs": "TRAINYARD_KEEP_EPOCHS",
        }
        values = {field: os.environ[name] for field, name in names.items() if os.environ.get(name)}
        for field, value in values.items():
            if not value.isdecimal():
                raise ConfigError(f"{names[field]}={value!r} is not a whole number")
        return cls(**{field: int(value) for field, value in values.items()})
