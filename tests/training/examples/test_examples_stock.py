"""What a DCP user keeps: stock torch.distributed.checkpoint reads what the changed script saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file

from tests.training.examples.nursery import Nursery
from tests.training.examples.trials import STEPS, Trial, example

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled, unavailable or uninitialized")


@pytest.fixture(scope="module")
def saved(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last checkpoint of a run at two ranks."""
    run = Trial(nursery, example("dcp_user", 2), tmp_path_factory.mktemp("dcp") / "run")
    run.finish_well()
    return run.checkpoints / f"step_{STEPS:08}"


def test_stock_dcp_reads_model_optimizer_and_train_state(saved: Path) -> None:
    shapes = {"tokens.weight": (32, 32), "blocks.1.linear2.weight": (32, 64)}
    model = {name: torch.full(shape, 77.0) for name, shape in shapes.items()}
    moments = {f"state.{name}.exp_avg": torch.full(shape, 77.0) for name, shape in shapes.items()}
    state = {"model": model, "optimizer": moments, "train_state": {"step": torch.tensor(0, dtype=torch.int32)}}
    dcp.load(state, storage_reader=dcp.HuggingFaceStorageReader(str(saved)), no_dist=True)
    assert int(state["train_state"]["step"]) == STEPS
    for name in shapes:
        halves = [load_file(path)[f"model.{name}"] for path in sorted(saved.glob("*.safetensors"))]
        assert len(halves) == 2 and torch.equal(torch.cat(halves), model[name])
        assert 0 < moments[f"state.{name}.exp_avg"].abs().max() < 1
