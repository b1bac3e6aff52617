"""What the runtime sees of a loop, and says where a resumed run would go on in another way."""

from __future__ import annotations

import concurrent.futures
import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trainyard
from torch.utils.data import DataLoader, TensorDataset
from trainyard import checkpoint_format as fmt

from tests.training.rt_trainer import wait_for_idle

pytest_plugins = ["tests.training.rt_fixtures"]

DATA = TensorDataset(torch.arange(24.0).reshape(-1, 1))


class Script:
    """A training script of one process: its objects, and a Checkpointer that is closed at the end."""

    def __init__(self, folder: Path, **things: Any) -> None:
        self.folder, self.model = folder, torch.nn.Linear(1, 1)
        self.loader = trainyard.ResumableLoader(DATA, batch_size=4)
        policy = trainyard.SavePolicy(rolling_steps=things.pop("rolling_steps", 100))
        things.setdefault("data", self.loader)
        self.checkpointer = trainyard.Checkpointer(folder, policy=policy, model=self.model, **things)
        self.step = self.checkpointer.restore()

    def tell(self, **told: Any) -> None:
        wait_for_idle()  # else a rolling snapshot that is due would be put off to a later step
        self.step += 1
        self.checkpointer.step(self.step, loss=1.0, **told)


@pytest.fixture
def folder(memory_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRAINYARD_RUN_DIR", str(memory_path / "run"))
    monkeypatch.setenv("TRAINYARD_RUN_ID", "5f0c000000000000")
    return memory_path / "checkpoints"


def warnings(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("trainyard: warning: ")]


class Stream:
    """A loader of one's own that knows its place."""

    def __init__(self) -> None:
        self.position = 0

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position = state["position"]


class StatefulLoader(DataLoader[Any]):
    """In the manner of torchdata's."""

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


@pytest.mark.parametrize(
    "things",
    [
        {"data": None},
        {"data": trainyard.GlobalOrder(8)},
        {"data": None, "dataloader": Stream()},
        {"data": None, "corpus": trainyard.PerRank(trainyard.ResumableLoader(DATA, 4))},
    ],
)
def test_who_keeps_the_place_in_the_data_is_not_warned(
    folder: Path, things: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Script(folder, **things).checkpointer.close()
    assert warnings(capsys.readouterr().out) == []


@pytest.mark.parametrize("things", [{}, {"counter": Stream()}, {"scheduler": torch.optim.lr_scheduler.StepLR}])
def test_who_keeps_no_place_in_the_data_is_warned_once_with_the_line_to_add(
    folder: Path, things: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    model = torch.nn.Linear(1, 1)
    if "scheduler" in things:
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        things = {"optimizer": optimizer, "scheduler": things["scheduler"](optimizer, 1)}
    checkpointer = trainyard.Checkpointer(folder, model=model, **things)
    for step in range(checkpointer.restore() + 1, 4):
        checkpointer.step(step)
    checkpointer.close()
    (line,) = warnings(capsys.readouterr().out)
    assert "data=trainyard.ResumableLoader(dataset, batch_size=...)" in line and "data=None" in line


def test_an_ordinary_loader_is_refused_by_name_before_anything_is_taken(folder: Path) -> None:
    with pytest.raises(trainyard.ConfigError, match=r"batches: a DataLoader cannot say where it stands.*ResumableLoader"):
        Script(folder, batches=DataLoader(DATA))
    assert not folder.exists()


def test_a_loader_that_draws_from_the_trainings_random_numbers_is_named_after_a_restore(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for generator, told in ((None, 0), (None, 1), (torch.Generator(), 0)):
        script = Script(folder, data=StatefulLoader(DATA, generator=generator))
        script.tell()
        script.checkpointer.close()
        found = [line for line in warnings(capsys.readouterr().out) if "data has no generator of its own" in line]
        assert len(found) == told


def plain(script: Script) -> None:
    for _ in script.loader:
        script.tell()


def accumulating(script: Script) -> None:
    for number, _ in enumerate(script.loader, start=1):
        if number % 2 == 0:
            script.tell()


def several_steps_on_a_batch(script: Script) -> None:
    for _ in itertools.islice(script.loader, 3):
        script.tell(), script.tell()


def one_ahead(script: Script) -> None:
    batches = iter(script.loader)
    batch = next(batches, None)
    while batch is not None:
        following = next(batches, None)
        script.tell()
        batch = following


def all_ahead(script: Script) -> None:
    for _ in list(script.loader):
        script.tell()


def a_look_first(script: Script) -> None:
    next(iter(script.loader))
    plain(script)


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        (plain, None),
        (accumulating, None),
        (several_steps_on_a_batch, None),
        (one_ahead, "asked for 2 batches before its first step and for 1 before the next"),
        (all_ahead, "asked for 6 batches before its first step and for 0 before the next"),
        (a_look_first, "asked for 2 batches before its first step and for 1 before the next"),
    ],
)
def test_batches_that_are_fetched_ahead_of_their_steps_are_reported_once(
    folder: Path, loop: Callable[[Script], None], words: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script(folder)
    loop(script)
    script.checkpointer.close()
    found = warnings(capsys.readouterr().out)
    assert [words in line for line in found] == [True] if words else found == []


def test_the_place_in_the_epoch_is_told_to_a_loop_that_does_not_ask_for_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loop that counts from 0 would take another batch for the last one."""
    for asks, told in ((False, 0), (False, 1), (True, 0)):
        script = Script(folder)
        number = script.loader.batches_done if asks else 0
        next(iter(script.loader))
        script.tell()
        script.checkpointer.close()
        assert capsys.readouterr().out.count("write enumerate(loader, start=loader.batches_done)") == told
        assert number == (2 if asks else 0)


def test_a_loop_that_takes_several_steps_on_a_batch_saves_at_the_next_one(folder: Path) -> None:
    """A snapshot that waited for the next batch would be of a later step than it says; the next one does not wait."""
    script = Script(folder, rolling_steps=2)
    several_steps_on_a_batch(script)
    script.checkpointer.close()
    assert script.step == 6 and {entry.step for entry in fmt.committed(fmt.scan(folder))} >= {2, 6}


def test_batches_that_another_thread_asks_for_say_nothing_of_the_training(folder: Path) -> None:
    """The thread that reads ahead must not take a snapshot amid a step."""
    script = Script(folder, rolling_steps=1)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        batches = iter(script.loader)
        for _ in range(3):
            pool.submit(next, batches).result()
            script.tell()
    wait_for_idle()
    assert [entry.step for entry in fmt.committed(fmt.scan(folder))] == [1, 2, 3]
    script.checkpointer.close()


def test_a_batch_in_hand_for_no_step_is_not_lost(folder: Path) -> None:
    """`for batch in loader: if step == steps: break` has a batch in hand at its end, and trains longer later."""
    script = Script(folder)
    for _ in script.loader:
        if script.step == 2:
            break
        script.tell()
    script.checkpointer.close()
    again = Script(folder)
    assert again.step == again.loader.batches_done == 2
    again.checkpointer.close()


@pytest.mark.parametrize("data", [None, "loader"])
def test_a_step_that_is_told_again_is_one_step_with_all_that_was_told(folder: Path, data: str | None) -> None:
    script = Script(folder, rolling_steps=2, **({"data": None} if data is None else {}))
    for _ in itertools.islice(script.loader, 2):
        script.tell(grad_norm=0.5)
    script.checkpointer.step(2, val_loss=0.25, end_of_epoch=True)
    script.checkpointer.close()
    (entry,) = fmt.scan(folder)
    assert entry.manifest and entry.manifest["val_loss"] == 0.25 and entry.manifest["end_of_epoch"]
    assert fmt.verify_folder(folder / entry.name)["step"] == 2
    last = json.loads((Path(os.environ["TRAINYARD_RUN_DIR"]) / "steps.jsonl").read_text().splitlines()[-1])
    assert (last["step"], last["loss"], last["grad_norm"], last["val_loss"]) == (2, 1.0, 0.5, 0.25)


def test_the_epoch_of_a_step_is_that_of_its_batch(folder: Path) -> None:
    script = Script(folder)
    plain(script)
    assert script.loader.epoch == 1 and script.checkpointer.epoch == 0
    script.checkpointer.close()


def test_an_evaluation_with_a_loader_of_this_kind_is_part_of_the_step(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its batches are not the training's: what is due waits for the next one of those."""
    validation = trainyard.ResumableLoader(DATA, batch_size=8)
    script = Script(folder, rolling_steps=6, validation=validation)
    for _ in range(2):
        plain(script)
        with torch.no_grad():
            for (batch,) in validation:
                script.model.bias.fill_(float(batch.sum()))
        script.model.bias.data.fill_(script.loader.epoch)
        wait_for_idle()
        assert [entry.step for entry in fmt.committed(fmt.scan(folder))] == [6] * (script.loader.epoch - 1)
    script.checkpointer.close()
    again = Script(folder, validation=trainyard.ResumableLoader(DATA, batch_size=8))
    assert again.step == 12 and again.model.bias.item() == 2.0
    again.checkpointer.close()
    assert warnings(capsys.readouterr().out) == []


def test_a_second_phase_on_another_loader_has_its_edges_too(folder: Path) -> None:
    second = trainyard.ResumableLoader(DATA, batch_size=12)
    script = Script(folder, rolling_steps=2, second=second)
    plain(script)
    for _ in second:
        script.tell()
    script.model.bias.data.fill_(5.0)
    wait_for_idle()
    assert fmt.committed(fmt.scan(folder))[-1].step == 7  # the switch itself is seen one step late
    next(iter(second))
    wait_for_idle()
    assert fmt.committed(fmt.scan(folder))[-1].step == 8
    script.checkpointer.close()


def test_a_stop_that_no_further_batch_follows_is_answered_by_close(folder: Path) -> None:
    script = Script(folder, total_steps=9)
    for _ in script.loader:
        if script.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        script.tell()
        if script.step == 3:
            break
    with pytest.raises(SystemExit) as end:
        script.checkpointer.close()
    assert end.value.code == 143 and fmt.committed(fmt.scan(folder))[-1].step == 3
