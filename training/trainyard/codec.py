"""State that is no tensor, as JSON and back, exactly.

JSON keeps str, int, bool, None, finite floats (shortest repr, so bit-exact), lists and dicts with str keys. What it cannot say is a
one-member dict whose key starts with "$": {"$tuple": [...]}, {"$dict": [[key, value], ...]}, {"$float": "nan"}, {"$bytes": base64},
{"$tensor": key}. A pickle never enters.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from trainyard.errors import TrainyardError


def encode(value: Any, path: str, put_tensor: Callable[[str, torch.Tensor], None]) -> Any:
    """JSON for `value`. Tensors are handed to `put_tensor(path, tensor)` and leave a reference.

    Raises TrainyardError that names the path of a value with no faithful form.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, torch.Tensor):
        put_tensor(path, value)
        return {"$tensor": path}
    if isinstance(value, np.generic):
        return encode(value.item(), path, put_tensor)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, list | tuple):
        items = [encode(item, f"{path}.{i}", put_tensor) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        return _encode_dict(value, path, put_tensor)
    raise TrainyardError(
        f"{path}: a {type(value).__name__} has no form in a checkpoint; keep numbers, text, lists, dicts or tensors"
    )


def _encode_dict(value: dict[Any, Any], path: str, put_tensor: Callable[[str, torch.Tensor], None]) -> Any:
    pairs = [(key, encode(item, f"{path}.{key}", put_tensor)) for key, item in value.items()]
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return dict(pairs)
    return {"$dict": [[encode(key, path, put_tensor), item] for key, item in pairs]}


def decode(value: Any, get_tensor: Callable[[str], torch.Tensor]) -> Any:
    """What `encode` was given; `get_tensor(key)` brings the tensors."""
    if isinstance(value, list):
        return [decode(item, get_tensor) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((tag, content),) = value.items()
        if tag == "$tensor":
            return get_tensor(content)
        if tag == "$tuple":
            return tuple(decode(item, get_tensor) for item in content)
        if tag == "$dict":
            return {decode(key, get_tensor): decode(item, get_tensor) for key, item in content}
        if tag == "$float":
            return float(content)
        if tag == "$bytes":
            return base64.b64decode(content)
    return {key: decode(item, get_tensor) for key, item in value.items()}
