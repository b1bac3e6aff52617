"""Trainyard's runtime: checkpoints, resumable state and telemetry inside a PyTorch training job."""

from trainyard.checkpointer import Checkpointer
from trainyard.data import GlobalOrder, data_fingerprint
from trainyard.errors import ConfigError, FolderError, MismatchError, PeerLostError, RestoreError, SaveError, TrainyardError
from trainyard.loader import ResumableLoader
from trainyard.objects import PerRank
from trainyard.policy import SavePolicy
from trainyard.process import World, init_distributed

__all__ = [
    "Checkpointer",
    "ConfigError",
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
]
