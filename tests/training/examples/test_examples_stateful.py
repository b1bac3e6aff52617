"""Objects that are neither module nor plain optimizer: containers, and states that differ from rank to rank."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import trainyard
from torch import nn
from trainyard import objects

from tests.training.examples.nursery import Nursery
from tests.training.examples.trials import STEPS, Trial, variant


class Container(torch.optim.Optimizer):
    """In the manner of torchtitan's: an optimizer by type, whose state is in those that it holds."""

    def __init__(self, model: nn.Module) -> None:
        self.optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1)]
        super().__init__(list(model.parameters()), {"lr": 0.1})

    def state_dict(self) -> dict[str, Any]:
        return {"first": self.optimizers[0].state_dict()}


def stepped(optimizer: Any, model: nn.Module) -> Any:
    model(torch.ones(1, 2)).sum().backward()
    for one in getattr(optimizer, "optimizers", [optimizer]):
        one.step()
    return optimizer


def test_a_container_of_optimizers_is_saved_by_its_own_state_dict() -> None:
    """Its own `state` is empty, and would be saved as that without a word."""
    model = nn.Linear(2, 2)
    container = stepped(Container(model), model)
    tensors, _ = objects.capture({"model": model, "optimizer": container})
    assert not container.state and sum("exp_avg" in key for key in tensors) == 4


def test_a_plain_optimizer_is_saved_by_parameter() -> None:
    model = nn.Linear(2, 2)
    tensors, _ = objects.capture({"model": model, "optimizer": stepped(torch.optim.AdamW(model.parameters()), model)})
    assert "optimizer.state.weight.exp_avg" in tensors


@pytest.fixture(scope="module")
def counted(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A finished run of two ranks that count at different paces."""
    run = Trial(nursery, variant("per-rank-state", "plain_loop", 2), tmp_path_factory.mktemp("per-rank") / "run")
    run.finish_well()
    return run


def test_each_rank_gets_its_own_state_back(counted: Trial) -> None:
    counted.finish_well()
    assert counted.restored_steps() == [0, STEPS]


def test_a_state_per_rank_is_refused_on_another_number_of_ranks(nursery: Nursery, counted: Trial) -> None:
    alone = Trial(nursery, variant("per-rank-state", "plain_loop"), counted.folder, counted.run_id, starts=5)
    with alone.started():
        assert alone.exit_codes() == [1]
    assert "count has a state for each of 2 ranks in the checkpoint, and there are 1 here" in alone.tail()


def test_a_tensor_in_it_is_refused() -> None:
    class Holder:
        def state_dict(self) -> dict[str, Any]:
            return {"seen": torch.zeros(1)}

    with pytest.raises(trainyard.TrainyardError, match=r"loader\.seen: a tensor cannot be in the state of a PerRank object"):
        objects.capture_per_rank({"loader": trainyard.PerRank(Holder())})
