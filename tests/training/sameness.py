"""Whether two values are the same in every type and bit."""

from __future__ import annotations

import math
import struct
from collections import defaultdict, deque
from typing import Any

import numpy as np
import torch

from tests.training.rt_folder import raw


def same(one: Any, other: Any) -> bool:
    """Same types all the way down, same bits at the bottom."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and raw(one) == raw(other)
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, np.ndarray | np.generic):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, deque) and one.maxlen != other.maxlen:
        return False
    if isinstance(one, defaultdict) and one.default_factory is not other.default_factory:
        return False
    if isinstance(one, complex):
        return repr(one) == repr(other)
    if isinstance(one, list | tuple | deque):
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict and all(isinstance(key, str) for key in one):  # canonical JSON sorts these
        one, other = ({key: value[key] for key in sorted(value, key=repr)} for value in (one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(map(same, one, other)) and all(map(same, one.values(), other.values()))
    return bool(one == other)
