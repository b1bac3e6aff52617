"""What the integrations refuse, how they stop, and that the comparison of the exact tests can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.examples.campaigns import Campaign, require_libraries
from tests.training.examples.nursery import Nursery
from tests.training.examples.outcomes import differing
from tests.training.examples.trials import STEPS, Trial, example, variant

SEED = 2
CODE = "import sys, trainyard; print(sorted({'transformers', 'accelerate', 'lightning'} & {name.partition('.')[0] for name in sys.modules}))"


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("plain-ordinary-loader", "plain_loop"),
        ("huggingface-without-skipping", "huggingface_trainer"),
        ("lightning-forgetful", "lightning_trainer"),
    ],
)
def test_without_the_data_position_a_resumed_run_differs(nursery: Nursery, name: str, library: str, tmp_path: Path) -> None:
    """The negative control."""
    require_libraries(library)
    campaign = Campaign(nursery, variant(name, library), tmp_path, SEED)
    campaign.reference.finish_well()
    campaign.endure("kill", earliest=5, latest=8)  # in the first epoch: at the beginning of one there is nothing to forget
    assert any(line.startswith("tensor shard") for line in differing(campaign.run, campaign.reference))


@pytest.mark.parametrize("name", ["plain_loop", "huggingface_trainer", "lightning_trainer"])
def test_sigterm_saves_and_exits_143_and_a_finished_run_is_left_as_it_is(nursery: Nursery, name: str, tmp_path: Path) -> None:
    require_libraries(name)
    run = Trial(nursery, example(name), tmp_path / "run")
    assert run.stop_at(5, 0) == [143], run.tail()
    (stopping,) = run.events("stopping")
    assert run.events("committed")[-1]["step"] == stopping["step"] and "stop" in run.events("committed")[-1]["reasons"]
    run.finish_well()
    assert run.restored_steps() == [0, stopping["step"]]
    before = _files(run.checkpoints / f"step_{STEPS:08}")
    run.finish_well()
    assert run.steps_told().count(STEPS) == 1 and _files(run.checkpoints / f"step_{STEPS:08}") == before


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "library", "words"),
    [
        ("huggingface-without-resume", "huggingface_trainer", "resume_from_checkpoint=trainyard.huggingface.resume(trainer)"),
        ("lightning-ordinary-loader", "lightning_trainer", "use trainyard.ResumableLoader"),
        ("lightning-averaging", "lightning_trainer", "WeightAveraging.on_save_checkpoint changes the checkpoint's state_dict"),
        ("lightning-plateau-by-step", "lightning_trainer", "ReduceLROnPlateau with interval='step'"),
        ("accelerate-prepared-loader", "accelerate_loop", "data: a DataLoaderShard cannot say where it stands"),
        (
            "accelerate-as-a-whole",
            "accelerate_loop",
            "give what accelerator.prepare() returned, each thing by a name of its own",
        ),
    ],
)
def test_what_could_not_be_resumed_is_refused_before_the_first_step(
    nursery: Nursery, name: str, library: str, words: str, tmp_path: Path
) -> None:
    require_libraries(library)
    run = Trial(nursery, variant(name, library), tmp_path / "run")
    with run.started():
        assert run.exit_codes() == [1]
    assert words in run.tail() and run.steps_told() == []


def test_the_package_imports_neither_library() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
