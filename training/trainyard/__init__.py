"""Trainyard's runtime: checkpoints, resumable state and telemetry inside a PyTorch training job."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainyard.checkpointer import Checkpointer
    from trainyard.data import GlobalOrder, data_fingerprint
    from trainyard.errors import (
        ConfigError,
        DamagedError,
        DisagreementError,
        FolderError,
        MismatchError,
        PeerLostError,
        RestoreError,
        SaveError,
        TrainyardError,
    )
    from trainyard.loader import ResumableLoader
    from trainyard.objects import PerRank
    from trainyard.policy import SavePolicy
    from trainyard.process import World, init_distributed
    from trainyard.weights import load_weights

__all__ = [
    "Checkpointer",
    "ConfigError",
    "DamagedError",
    "DisagreementError",
    "FolderError",
    "GlobalOrder",
    "MismatchError",
    "PeerLostError",
    "PerRank",
    "RestoreError",
    "ResumableLoader",
    "SaveError",
    "SavePolicy",
    "TrainyardError",
    "World",
    "data_fingerprint",
    "init_distributed",
    "load_weights",
]

_HOME = {
    "Checkpointer": "checkpointer",
    "GlobalOrder": "data",
    "data_fingerprint": "data",
    "ResumableLoader": "loader",
    "PerRank": "objects",
    "SavePolicy": "policy",
    "World": "process",
    "init_distributed": "process",
    "load_weights": "weights",
}
"""Name -> module; all others are in errors. Looked up when first used: `python -m trainyard.launch` starts without torch."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("trainyard")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name)
    globals()[name] = value
    return value
