"""The random number generators of one rank: Python, NumPy, torch on the CPU and on this rank's GPU."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def capture() -> dict[str, Any]:
    """State of every generator, as plain values for the codec."""
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tobytes(), int(position), int(has_gauss), float(cached)),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state().numpy().tobytes()
    return dict(sorted(state.items()))  # the codec keeps a dict in another order as pairs


def restore(state: dict[str, Any]) -> None:
    """The inverse of `capture`."""
    random.setstate(state["python"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, np.frombuffer(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(_tensor(state["torch"]))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(_tensor(state["cuda"]))


def check(state: dict[str, Any]) -> None:
    """Whether `restore` will take this state; no generator that is in use is touched. Raises ValueError, TypeError or RuntimeError."""
    random.Random().setstate(state["python"])
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.RandomState().set_state((name, np.frombuffer(keys, dtype=np.uint32), position, has_gauss, cached))
    torch.Generator().set_state(_tensor(state["torch"]))
    if "cuda" in state and torch.cuda.is_available():
        torch.Generator(device="cuda").set_state(_tensor(state["cuda"]))


def reseed(step: int, rank: int) -> None:
    """For a rank that the checkpoint knows nothing of (more ranks than before): a stream of its own, the same each time."""
    seed = (step * 1_000_003 + rank) % 2**32
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
