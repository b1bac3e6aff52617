"""State that is no tensor comes back from JSON exactly as it was, or its saving names what has no form."""

from __future__ import annotations

import datetime
import decimal
import enum
import json
import math
import random
import struct
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from trainyard import codec, objects
from trainyard.checkpoint_format import canonical
from trainyard.errors import MismatchError, TrainyardError

from tests.training.sameness import same

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


def round_trip(value: Any, **options: Any) -> Any:
    """Through the very text that state.json holds."""
    tensors: dict[str, torch.Tensor] = {}

    def put(path: str, tensor: torch.Tensor) -> None:
        assert path not in tensors
        tensors[path] = tensor

    text = canonical(codec.encode(value, "root", put))
    return codec.decode(json.loads(text), tensors.__getitem__, path="root", **options)


@pytest.mark.parametrize("seed", range(200))
def test_whatever_has_a_form_comes_back_with_the_same_types_and_bits(seed: int) -> None:
    value = [draw(random.Random(seed)) for _ in range(5)]
    assert same(round_trip(value), value)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (1, 1.0), (0.0, -0.0), ((1,), [1]), ({1: 2}, {"1": 2}), ("a", b"a"), (torch.tensor(1), torch.tensor([1]))],
)
def test_the_comparison_above_tells_lookalikes_apart(one: Any, other: Any) -> None:
    assert same(one, one) and not same(one, other)


class Point(NamedTuple):
    x: int
    y: Any


class Colour(enum.Enum):
    RED = "red"


class Mode(enum.IntFlag):
    A = 1
    B = 2


KEPT: dict[str, Any] = {
    "a Counter": Counter({5: 1, 2: 3}),
    "an OrderedDict": OrderedDict([("b", 1), ("a", (2,))]),
    "a dict by number in an order of its own": {2: 3, 1: 4},
    "a defaultdict of lists": defaultdict(list, {"a": [1]}),
    "a defaultdict without a factory": defaultdict(None, {1: 2}),
    "a defaultdict with a factory of the script": defaultdict(Point, {1: 2}),
    "a deque": deque([1, (2,)], 5),
    "a deque of named tuples": deque([Point(1, 2)]),
    "sets": [{3, 1}, frozenset({"a"}), set(), {(1, 2), None}],
    "a set of enums": {Colour.RED},
    "ranges": [range(3), range(1, 9, 2), slice(None, 4, None)],
    "complex numbers": [1j, complex(math.nan, -math.inf), -0.0j],
    "torch's own": [torch.Size([2, 3]), torch.bfloat16, torch.device("cpu"), torch.device("cuda:1")],
    "paths": Path("a/b"),
    "times": [datetime.datetime(2026, 1, 2, 3, 4, 5, 6), datetime.date(2026, 1, 2), datetime.timedelta(1, 2, 3)],
    "a time with a zone": datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    "others": [decimal.Decimal("1.10"), uuid.UUID(int=7), bytearray(b"\xff")],
    "large ints": [2**70, -(2**20_000)],
    "a named tuple": Point(1, Point(2, [3])),
    "named tuples in a list": [Point(1, 2), Point(3, 4)],
    "enums": {"c": Colour.RED, "m": Mode.A | Mode.B, "one": Mode.B},
    "keys that are enums": {Colour.RED: Point(1, Colour.RED)},
    "NumPy's scalars": [np.float32(0.1), np.int64(7), np.bool_(True), np.float64(0.1), np.datetime64("2026-01-02")],
    "NumPy's arrays": [
        np.arange(6.0).reshape(2, 3).T,
        np.array(["a", "bc"]),
        np.zeros((0, 3), "<i2"),
        np.array(7),
        np.array([1], ">i4"),
    ],
    "a large array": np.arange(200_000.0),
    "an array that cannot be written to": np.broadcast_to(np.float32(2), (3,)),
}


@pytest.mark.parametrize("what", KEPT)
def test_containers_and_values_keep_their_type(what: str) -> None:
    assert same(round_trip(KEPT[what], live=KEPT[what]), KEPT[what])


def test_the_class_comes_from_the_live_state_also_where_its_list_was_shorter_and_its_dict_had_other_keys() -> None:
    value = {"history": [Point(1, 2), Point(3, 4)], "by_step": {10: Colour.RED}}
    assert same(round_trip(value, live={"history": [Point(0, 0)], "by_step": {0: Colour.RED}}), value)


def test_without_a_live_value_no_class_is_looked_up_and_it_is_said() -> None:
    notes: list[tuple[str, str]] = []
    found = round_trip({"p": Point(1, 2), "c": Colour.RED}, live={}, note=lambda path, what: notes.append((path, what)))
    assert found["p"].x == 1 and tuple(found["p"]) == (1, 2) and not isinstance(found["p"], Point)
    assert found["c"] == "red" and [path for path, _ in notes] == ["root.c", "root.p"]


def test_what_an_older_release_saved_as_a_dict_takes_the_type_of_the_live_value() -> None:
    """MultiStepLR's milestones are a Counter; as a dict they end the run some steps after a restart."""
    old = {"milestones": {"$dict": [[5, 1]]}}
    assert same(codec.decode(old, lambda key: torch.zeros(()), live={"milestones": Counter()}), {"milestones": Counter({5: 1})})


@pytest.mark.parametrize("tag", ["$pickle", "$object", "$import"])
def test_a_form_that_is_not_known_is_refused(tag: str) -> None:
    with pytest.raises(MismatchError, match=r"saved by a newer one"):
        codec.decode({tag: "os.system"}, lambda key: torch.zeros(()))


@pytest.mark.parametrize("fields", [["x y"], ["__init__"], ["class"], ["x", "x"], [1], [f"f{i}" for i in range(300)]])
def test_the_names_of_a_forged_named_tuple_are_not_believed(fields: list[Any]) -> None:
    with pytest.raises(ValueError, match="not the fields"):
        codec.decode({"$named": [fields, [0] * len(fields)]}, lambda key: torch.zeros(()))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"groups": [0, {"hook": len}]}, "scheduler.groups.1.hook"),
        ({"array": np.array([object()])}, "scheduler.array"),
        ({"records": np.zeros(2, dtype=[("a", "f4")])}, "scheduler.records"),
        ({"deep": ({"x": object()},)}, "scheduler.deep.0.x"),
        ({"generator": torch.Generator()}, "scheduler.generator"),
        ({"by": {torch.zeros(1): 1}}, "scheduler.by"),
    ],
)
def test_a_value_without_a_form_is_refused_by_its_path(value: Any, path: str) -> None:
    with pytest.raises(TrainyardError) as refusal:
        codec.encode(value, "scheduler", lambda *_: None)
    assert str(refusal.value).startswith(f"{path}: a")


def test_a_container_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(TrainyardError, match=r"thing: nested too deep for a checkpoint, or a container that holds itself"):
        codec.encode({"a": endless}, "thing", lambda *_: None)


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
