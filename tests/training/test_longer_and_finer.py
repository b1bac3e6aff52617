"""Training on after the end: the old end stays, a schedule of another length is named, and another run's weights come alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trainyard
from torch import nn
from torch.optim import lr_scheduler as schedules

from tests.training.kinds_of_objects import MODULES, adamw
from tests.training.rt_folder import files_under, flip, header_bytes, shards

pytest_plugins = ["tests.training.rt_fixtures"]


@pytest.fixture
def folder(memory_path: Path) -> Path:
    return memory_path / "checkpoints"


def trained(
    folder: Path, steps: int, model: nn.Module, *, total_steps: int | None = None, every: int = 10**6, **things: Any
) -> trainyard.Checkpointer:
    policy = trainyard.SavePolicy(rolling_steps=every, keep_rolling=1)
    checkpointer = trainyard.Checkpointer(folder, policy=policy, model=model, total_steps=total_steps, **things)
    step = checkpointer.restore()
    while step < steps:
        step += 1
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 1
        checkpointer.step(step)
    return checkpointer


def kept(folder: Path) -> list[int]:
    return sorted(int(path.name.partition("_")[2]) for path in folder.glob("step_*"))


# --- the old end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", [True, False])
@pytest.mark.parametrize("every", [10**6, 1])
def test_the_last_step_of_a_finished_training_survives_when_it_is_made_longer(folder: Path, every: int, total: bool) -> None:
    """Also where the last step was saved as an ordinary one, and only `close()` told that it was the last."""
    for end in (3, 6, 9):
        trained(folder, end, nn.Linear(1, 1), total_steps=end if total else None, every=every).close()
        assert {3: [3], 6: [3, 6], 9: [6, 9]}[end] == kept(folder)
        assert json.loads((folder / "tiers.json").read_text())["final"] == {3: [3], 6: [3, 6], 9: [6, 9]}[end]


def test_a_training_that_was_only_interrupted_has_no_last_step(folder: Path) -> None:
    for end in (3, 6, 9):
        trained(folder, end, nn.Linear(1, 1), total_steps=20).close()
    assert kept(folder) == [9] and "final" not in json.loads((folder / "tiers.json").read_text())


# --- schedules ---------------------------------------------------------------------------------------------------

LENGTHS: dict[str, tuple[Callable[[Any, int], Any], str | None]] = {
    "cosine": (
        schedules.CosineAnnealingLR,
        r"note: scheduler\.T_max is 4 in the checkpoint and 8 here: the checkpoint's is used; after that step .* rises again\. To go on",
    ),
    "one cycle": (
        lambda optimizer, steps: schedules.OneCycleLR(optimizer, 0.1, total_steps=steps),
        r"note: scheduler\.total_steps is 4 in the checkpoint and 8 here: .*; a step after that is an error\. To train longer",
    ),
    "inside another": (
        lambda optimizer, steps: schedules.SequentialLR(
            optimizer, [schedules.ConstantLR(optimizer), schedules.CosineAnnealingLR(optimizer, steps)], [2]
        ),
        r"note: scheduler\._schedulers\.1\.T_max is 4 in the checkpoint and 8 here",
    ),
    "milestones": (
        lambda optimizer, steps: schedules.MultiStepLR(optimizer, [1, steps]),
        r"note: scheduler\.milestones is \[1, 4\] in the checkpoint and \[1, 8\] here: the checkpoint's is used",
    ),
    "a function of the script": (lambda optimizer, steps: schedules.LambdaLR(optimizer, lambda step: step / steps), None),
}


@pytest.mark.parametrize("what", LENGTHS)
def test_a_schedule_made_for_fewer_steps_is_named_and_the_same_one_is_not(
    folder: Path, what: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make, words = LENGTHS[what]
    monkeypatch.setenv("TRAINYARD_RUN_DIR", str(folder.parent))
    for steps in (4, 4, 8):
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        optimizer.step()
        checkpointer = trained(folder, 2, model, optimizer=optimizer, scheduler=make(optimizer, steps))
        checkpointer.close()
        said = " ".join(line for line in capsys.readouterr().out.splitlines() if "note: " in line)
        assert bool(said) == (steps == 8 and words is not None), said
    events = [json.loads(line) for line in (folder.parent / "events.jsonl").read_text().splitlines()]
    notes = [event["notes"] for event in events if event["type"] == "notes"]
    assert len(notes) == (words is not None)
    if words:
        assert re.search(words, said) and all(note in said for note in notes[0]), said


# --- weights of another run --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("which", "value"), [("latest", 3.0), ("step:2", 2.0), ("best", 3.0)])
def test_weights_come_from_another_run_and_nothing_else_does(folder: Path, which: str, value: float) -> None:
    source = nn.Linear(1, 1)
    nn.init.zeros_(source.weight)
    policy = trainyard.SavePolicy(rolling_steps=1)
    checkpointer = trainyard.Checkpointer(folder, policy=policy, model=source, optimizer=adamw(source))
    checkpointer.restore()
    for step in range(1, 4):
        nn.init.constant_(source.weight, step)
        checkpointer.step(step, val_loss=1 / step)
    checkpointer.close()
    before = dict(files_under(folder))
    model = nn.Linear(1, 1)
    state = torch.get_rng_state()
    loaded = trainyard.load_weights(model, folder, which=which)
    assert (loaded.step, model.weight.item()) == (int(value), value) and (loaded.missing, loaded.unused) == ((), ())
    assert torch.equal(torch.get_rng_state(), state)
    assert dict(files_under(folder)) == before
    assert trainyard.load_weights(model, folder / "step_00000001").step == 1 and model.weight.item() == 1.0


@pytest.mark.parametrize("kind", ["clones inside another", "renamed", "extra state with tensors", "tied", "compiled inside"])
def test_weights_of_any_kind_of_module_come_back(folder: Path, kind: str) -> None:
    source, model = MODULES[kind](), MODULES[kind]()
    trained(folder, 2, source).close()
    trainyard.load_weights(model, folder)
    assert all(torch.equal(one, other) for one, other in zip(source.parameters(), model.parameters(), strict=True))


def test_another_head_is_refused_or_left_as_it_is_and_named(folder: Path) -> None:
    trained(folder, 1, nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 3))).close()
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 5), nn.Linear(5, 1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(
        trainyard.MismatchError, match=r"model\.1\.bias is F32\[5\], in the checkpoint F32\[3\].*strict=False loads"
    ):
        trainyard.load_weights(model, folder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    loaded = trainyard.load_weights(model, folder, strict=False)
    assert loaded.missing == ("model.1.bias", "model.1.weight", "model.2.bias", "model.2.weight")
    assert loaded.unused == ("model.1.bias", "model.1.weight")
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {"0.weight", "0.bias"}


def test_damaged_or_missing_sources_are_errors_that_change_nothing(folder: Path, tmp_path: Path) -> None:
    checkpointer = trained(folder, 1, nn.Linear(2, 2))
    checkpointer.close()
    (shard,) = shards(folder / "step_00000001")
    flip(shard, 8 * header_bytes(shard) + 9)
    model = nn.Linear(2, 2)
    before = model.weight.detach().clone()
    for source, words in (
        (folder, "no checkpoint latest is intact; .*differs"),
        (folder / "step_00000001", "differs"),
        (tmp_path / "none", "no such folder"),
        (tmp_path, "no checkpoint latest"),
    ):
        with pytest.raises(trainyard.RestoreError, match=words):
            trainyard.load_weights(model, source)
    with pytest.raises(trainyard.RestoreError, match="use latest, best, epoch:N or step:N"):
        trainyard.load_weights(model, folder, which="none")
    assert torch.equal(model.weight, before)
