"""A Checkpointer that fails, when it is made, closed or left by an exception, gives back what it took: signals, lock, charts."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import trainyard
from trainyard import checkpoint_format as fmt

from tests.training.rt_zygote import events

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkpoint folder; whatever happens in the test, the signals are as they were."""
    before = [signal.getsignal(number) for number in STOPS]
    monkeypatch.setenv("TRAINYARD_RUN_DIR", str(tmp_path))
    yield tmp_path / "checkpoints"
    after = [signal.getsignal(number) for number in STOPS]
    for number, handler in zip(STOPS, before, strict=True):
        signal.signal(number, handler)
    assert after == before


def make(root: Path, **options: Any) -> trainyard.Checkpointer:
    return trainyard.Checkpointer(root, model=torch.nn.Linear(2, 2), **options)


def holder(root: Path) -> Any:
    return json.loads((root / fmt.LOCK).read_text())["holder"]


FAILING: dict[str, tuple[type[Exception], Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]]] = {
    "a chart that is none": (trainyard.ConfigError, lambda root, patch: {"wandb": "sometimes"}),
    "a folder in the way of a chart": (
        trainyard.FolderError,
        lambda root, patch: (root.parent / "tensorboard").write_text("x") and {"tensorboard": True},
    ),
    "the last line of all": (ValueError, lambda root, patch: patch.setenv("TRAINYARD_ATTEMPT", "first") or {}),
}


@pytest.mark.parametrize("what", FAILING)
def test_a_constructor_that_fails_keeps_nothing(root: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    error, prepare = FAILING[what]
    with pytest.raises(error):
        make(root, **prepare(root, monkeypatch))
    assert holder(root) is None
    monkeypatch.delenv("TRAINYARD_ATTEMPT", raising=False)
    with make(root) as checkpointer:
        assert checkpointer.restore() == 0


def test_a_lock_that_is_not_ours_is_not_given_back(root: Path) -> None:
    with make(root):
        before = (root / fmt.LOCK).read_bytes()
        with pytest.raises(trainyard.FolderError, match="is in use by process"):
            make(root)
        assert (root / fmt.LOCK).read_bytes() == before


def test_a_close_that_fails_gives_everything_back_and_a_second_one_does_nothing(root: Path) -> None:
    checkpointer = make(root)
    checkpointer.restore()
    checkpointer.step(1)
    shutil.rmtree(root)
    root.write_text("a file where the folder should be")
    with pytest.raises(trainyard.SaveError, match="step 1 was not saved") as lost:
        checkpointer.close()
    assert "stand" not in str(lost.value), "no older checkpoint is there"
    assert [signal.getsignal(number) for number in STOPS[:2]] == [signal.SIG_DFL, signal.default_int_handler]
    assert [event["finished"] for event in events(root.parent, "closed")] == [False]
    checkpointer.close()
    assert len(events(root.parent, "closed")) == 1


def test_with_closes_at_the_end(root: Path) -> None:
    with make(root) as checkpointer:
        checkpointer.restore()
        checkpointer.step(1)
    assert [event["finished"] for event in events(root.parent, "closed")] == [True]
    assert [entry.step for entry in fmt.committed(fmt.scan(root))] == [1] and holder(root) is None
    checkpointer.close()
    assert len(events(root.parent, "closed")) == 1


def test_an_exception_passes_through_with_nothing_saved_and_nothing_called_finished(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError), make(root) as checkpointer:
        checkpointer.restore()
        checkpointer.step(1)
        raise ZeroDivisionError
    assert [event["finished"] for event in events(root.parent, "closed")] == [False]
    assert fmt.committed(fmt.scan(root)) == [] and holder(root) is None
    said = capsys.readouterr().err
    assert "ZeroDivisionError ended this start after step 1, which is not saved; it had saved nothing" in said
    assert "stand" not in said, "there are none"


def test_a_save_that_is_on_its_way_when_an_exception_comes_is_finished(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), make(root, policy=trainyard.SavePolicy(rolling_steps=1)) as checkpointer:
        checkpointer.restore()
        checkpointer.step(1)
        raise ZeroDivisionError
    assert [entry.step for entry in fmt.committed(fmt.scan(root))] == [1]
    assert "ZeroDivisionError ended this start after step 1, which is saved" in capsys.readouterr().err


def test_an_agreed_stop_passes_through_with_its_save_and_its_code(root: Path) -> None:
    with pytest.raises(SystemExit) as end, make(root) as checkpointer:
        checkpointer.restore()
        signal.raise_signal(signal.SIGTERM)
        checkpointer.step(1)
    assert end.value.code == 143
    assert [entry.manifest["reasons"] for entry in fmt.committed(fmt.scan(root)) if entry.manifest] == [["stop"]]
    assert len(events(root.parent, "closed")) == 1
