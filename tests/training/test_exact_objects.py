"""What a Checkpointer restores into objects made anew is what was saved of the old ones: every kind that people bring, in one process."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import trainyard
from torch import nn

from tests.training.kinds_of_objects import KINDS, Rebuilds, train
from tests.training.sameness import same

pytest_plugins = ["tests.training.rt_fixtures"]

STEPS = 3


@pytest.fixture
def folder(memory_path: Path) -> Path:
    return memory_path / "checkpoints"


def make(kind: str) -> dict[str, Any]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own: the old spectral norm, lr_scheduler.step() before the first step
        return KINDS[kind]()


def everything(things: dict[str, Any]) -> dict[str, Any]:
    """All state, copied: modules by parameter and buffer, not by what their state_dict() says."""
    found: dict[str, Any] = {}
    for label, value in things.items():
        if isinstance(value, nn.Module):
            live = [*value.named_parameters(remove_duplicate=False), *value.named_buffers()]
            found[label] = {name: tensor.detach().clone() for name, tensor in live if name != "cache"}
            found[f"{label}.more"] = {name: getattr(value, name).clone() for name in ("seen",) if hasattr(value, name)}
        else:
            found[label] = copy.deepcopy(value.state_dict())
            if isinstance(value, torch.optim.Optimizer):  # the order of names in these dicts says nothing
                found[label] = by_name(**found[label])
    return found


def by_name(state: dict[Any, Any], param_groups: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    ordered = {key: state[key] for key in sorted(state, key=str)}
    slots = {key: dict(sorted(value.items(), key=str)) if isinstance(value, dict) else value for key, value in ordered.items()}
    return {"state": slots, "param_groups": [dict(sorted(group.items())) for group in param_groups], **more}


def go_on(things: dict[str, Any], first: int, last: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(first, last + 1):
            train(things, step)


def saved(kind: str, folder: Path) -> dict[str, Any]:
    """Everything after STEPS steps of training, which are saved."""
    things = make(kind)
    checkpointer = trainyard.Checkpointer(folder, **things)
    checkpointer.restore()
    for step in range(1, STEPS + 1):
        go_on(things, step, step)
        checkpointer.step(step)
    checkpointer.close()
    return things


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_set_of_objects_goes_on_as_the_old_one(kind: str, folder: Path) -> None:
    old = saved(kind, folder)
    torch.manual_seed(1)
    things = make(kind)
    with torch.no_grad():
        for parameter in things["model"].parameters():
            parameter.add_(0.25)  # else weights that are not restored would be the right ones by the seed
    before = things["optimizer"].param_groups[0]["lr"]
    checkpointer = trainyard.Checkpointer(folder, **things)
    assert checkpointer.restore() == STEPS
    assert_same(everything(things), everything(old))
    if isinstance(things["model"], Rebuilds):
        assert torch.equal(things["model"].doubled, 2 * things["model"].weight)
    assert (things["optimizer"].param_groups[0]["lr"] is before) or not isinstance(before, torch.Tensor)
    checkpointer.close()
    go_on(old, STEPS + 1, STEPS + 3)
    go_on(things, STEPS + 1, STEPS + 3)
    assert_same(everything(things), everything(old))


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for label in one:
        assert same(one[label], other[label]), f"{label}:\n{one[label]}\n{other[label]}"
