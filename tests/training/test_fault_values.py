"""Numbers that are not finite: no checkpoint holds such parameters, the run is told, and it does not end as finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.rt_zygote import Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

POLICY = {"rolling_steps": 2}


def test_parameters_that_are_nan_are_rejected_and_the_older_step_stands(
    zygote: Zygote, reference: dict[int, str], memory_path: Path
) -> None:
    ended = zygote.run(memory_path, steps=6, policy=POLICY, nan_parameters_at=4, wait_after=[2, 4, 6])
    assert ended.code == 1
    assert "SaveError: step 6 was not saved: step 6: NaN or Inf in model.hidden.bias, model.hidden.weight" in ended.stderr
    rejected = events(memory_path, "rejected")
    assert (rejected[0]["step"], rejected[0]["tensors"][-1]) == (4, "model.hidden.weight")
    assert [event["step"] for event in events(memory_path, "committed")] == [2]
    root = memory_path / "checkpoints"
    assert sorted(path.name for path in root.iterdir()) == ["latest", "lock.json", "step_00000002", "tiers.json"]
    resumed = zygote.run(memory_path, steps=6, policy=POLICY)
    assert (resumed.code, resumed.restored) == (0, (2, reference[2])), resumed.stderr
    assert resumed.digests[6] == reference[6]


def test_a_loss_that_is_nan_is_told_and_written_as_json(zygote: Zygote, memory_path: Path) -> None:
    ended = zygote.run(memory_path, steps=4, nan_loss_at=3)
    assert ended.code == 0 and "trainyard step=3 loss=nan" in ended.stdout
    assert [event["step"] for event in events(memory_path, "nan-loss")] == [3]
    lines = [json.loads(line, parse_constant=pytest.fail) for line in (memory_path / "steps.jsonl").read_text().splitlines()]
    assert [type(line["loss"]) for line in lines] == [float, float, str, float] and lines[2]["loss"] == "nan"


@pytest.mark.parametrize("loss", ["nan", "inf", "-inf"])
def test_a_validation_loss_that_is_not_finite_is_never_the_best(zygote: Zygote, memory_path: Path, loss: str) -> None:
    losses = {2: float(loss), 3: 2.0, 4: float(loss)}
    ended = zygote.run(memory_path, steps=4, policy=POLICY, val_losses=losses)
    assert ended.code == 0, ended.stderr
    tiers = json.loads((memory_path / "checkpoints" / "tiers.json").read_text())
    assert tiers["best"] == 3 and [event["step"] for event in events(memory_path, "committed")] == [2, 3, 4]
