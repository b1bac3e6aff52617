"""State that is no tensor comes back from JSON exactly as it was, or its saving names what has no form."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from trainyard import codec, objects
from trainyard.checkpoint_format import canonical
from trainyard.errors import TrainyardError

from tests.training.rt_folder import raw

LEAVES: list[Callable[[random.Random], Any]] = [
    lambda dice: None,
    lambda dice: dice.random() < 0.5,
    lambda dice: dice.randint(-(2**80), 2**80),
    lambda dice: struct.unpack("<d", dice.randbytes(8))[0],
    lambda dice: dice.choice([math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1]),
    lambda dice: dice.choice(["", "$", "$tensor", "$dict", "text", "\ud800", "\0", "nan", "ünï", "1"]),
    lambda dice: dice.randbytes(dice.randint(0, 9)),
    lambda dice: torch.tensor(struct.unpack("<3f", dice.randbytes(12))),
    lambda dice: torch.zeros(0, 3, dtype=torch.bfloat16),
    lambda dice: torch.tensor(dice.randint(-9, 9)),
]
KEYS: list[Callable[[random.Random], Any]] = [
    lambda dice: dice.randint(-3, 3),
    lambda dice: dice.choice(["a", "b", "$tuple", "$float", "$", ""]),
    lambda dice: dice.choice([None, True, 1.5, (1, "x"), b"\xff", math.inf]),
]


def draw(dice: random.Random, depth: int = 4) -> Any:
    kind = dice.randrange(4 if depth else 1)
    if kind == 0:
        return dice.choice(LEAVES)(dice)
    items = [draw(dice, depth - 1) for _ in range(dice.randint(0, 3))]
    if kind == 3:
        key = dice.choice(KEYS)
        return {key(dice): item for item in items}
    return items if kind == 1 else tuple(items)


def same(one: Any, other: Any) -> bool:
    """Same types all the way down, same bits at the bottom."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and raw(one) == raw(other)
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or struct.pack("<d", one) == struct.pack("<d", other)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return len(one) == len(other) and all(map(same, one, other)) and all(map(same, one.values(), other.values()))
    return bool(one == other)


def round_trip(value: Any) -> Any:
    """Through the very text that state.json holds."""
    tensors: dict[str, torch.Tensor] = {}

    def put(path: str, tensor: torch.Tensor) -> None:
        assert path not in tensors
        tensors[path] = tensor

    text = canonical(codec.encode(value, "root", put))
    return codec.decode(json.loads(text), tensors.__getitem__)


@pytest.mark.parametrize("seed", range(200))
def test_whatever_has_a_form_comes_back_with_the_same_types_and_bits(seed: int) -> None:
    value = [draw(random.Random(seed)) for _ in range(5)]
    # Canonical JSON sorts keys of plain dicts, so only their order may differ; compare in one order.
    assert same(ordered(round_trip(value)), ordered(value))


def ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in sorted(value, key=repr)}
    if isinstance(value, list | tuple):
        return type(value)(ordered(item) for item in value)
    return value


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), (0.0, -0.0), ((1,), [1]), ({1: 2}, {"1": 2}), ("a", b"a"), (torch.tensor(1), torch.tensor([1]))],
)
def test_the_comparison_above_tells_lookalikes_apart(one: Any, other: Any) -> None:
    assert same(one, one) and not same(one, other)


def test_numbers_of_numpy_become_plain_ones() -> None:
    assert same(
        round_trip({"a": np.float32(0.1), "b": np.int64(7), "c": np.bool_(True)}),
        {"a": float(np.float32(0.1)), "b": 7, "c": True},
    )


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"groups": [0, {"hook": len}]}, "scheduler.groups.1.hook"),
        ({"set": {1, 2}}, "scheduler.set"),
        ({"array": np.zeros(3)}, "scheduler.array"),
        ({"deep": ({"x": object()},)}, "scheduler.deep.0.x"),
        ({"complex": 1j}, "scheduler.complex"),
    ],
)
def test_a_value_without_a_form_is_refused_by_its_path(value: Any, path: str) -> None:
    with pytest.raises(TrainyardError) as refusal:
        codec.encode(value, "scheduler", lambda *_: None)
    assert str(refusal.value).startswith(f"{path}: a ")


def test_nothing_but_json_is_made_of_a_tensor_and_it_is_handed_over_once_by_its_path() -> None:
    seen: dict[str, torch.Tensor] = {}
    tensor = torch.arange(3)
    encoded = codec.encode({"a": [tensor]}, "model", lambda path, value: seen.setdefault(path, value))
    assert encoded == {"a": [{"$tensor": "model.a.0"}]} and seen["model.a.0"] is tensor


class Keeps:
    """An object with state; what it holds is what it saves."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def test_two_tensors_of_one_name_are_refused_instead_of_one_being_lost() -> None:
    ambiguous = Keeps({"a.b": torch.zeros(1), "a": {"b": torch.ones(1)}})
    with pytest.raises(TrainyardError, match=r"two tensors would be called 'thing.a.b'"):
        objects.capture({"thing": ambiguous})


def test_a_parameter_of_no_known_module_is_refused_by_its_shape() -> None:
    model, stranger = nn.Linear(2, 3), nn.Parameter(torch.zeros(4, 9))
    optimizer = torch.optim.SGD([*model.parameters(), stranger], lr=0.1)
    with pytest.raises(TrainyardError, match=r"optimizer holds a parameter of shape \(4, 9\)"):
        objects.capture({"model": model, "optimizer": optimizer})
