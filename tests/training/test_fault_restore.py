"""Which checkpoint a start takes, what it says when it may not, and that a choice made once does not throw later starts back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.training.rt_folder import files_under, flip, shards
from tests.training.rt_zygote import Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

OPTIONS: dict[str, Any] = {
    "policy": {"rolling_steps": 2, "keep_epochs": 2},
    "epoch_steps": 3,
    "val_losses": {2: 3.0, 4: 1.0, 6: 2.0, 7: 1.0},
}
"""Steps 2, 4, 6: rolling; 3, 6: end of the epochs 0 and 1; 4: best."""
FINGERPRINT = "f" * 32


@pytest.fixture(scope="module")
def finished(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("finished") / "run"
    ended = zygote.run(run_dir, steps=8, fingerprint=FINGERPRINT, config={"lr": 0.5, "$odd": float("nan")}, **OPTIONS)
    assert ended.code == 0, ended.stderr
    return run_dir


@pytest.fixture
def run_dir(finished: Path, memory_path: Path) -> Path:
    return Path(shutil.copytree(finished, memory_path / "run"))


def test_the_tiers_of_the_run_are_those_of_its_steps(finished: Path) -> None:
    tiers = json.loads((finished / "checkpoints" / "tiers.json").read_text())
    assert tiers == {"format": 1, "latest": 8, "rolling": [2, 4, 6, 8], "epoch": [3, 6], "best": 4, "final": [8]}


@pytest.mark.parametrize(
    ("which", "step"), [("latest", 8), ("best", 4), ("epoch:0", 3), ("epoch:1", 6), ("step:2", 2), ("none", 0)]
)
def test_each_choice_brings_exactly_its_step(
    zygote: Zygote, reference: dict[int, str], run_dir: Path, which: str, step: int
) -> None:
    ended = zygote.run(run_dir, steps=0, which=which, close=False)
    assert (ended.code, ended.restored) == (0, (step, reference[step])), ended.stderr
    assert events(run_dir, "restored")[-1] | {"requested": which, "step": step} == events(run_dir, "restored")[-1]


def test_best_loss_and_configuration_come_back(zygote: Zygote, run_dir: Path) -> None:
    ended = zygote.run(run_dir, steps=0, close=False)
    assert "best=1.0 config={'lr': 0.5, '$odd': nan}" in ended.stdout


@pytest.mark.parametrize("which", ["step:5", "epoch:7", "step:99"])
def test_a_choice_that_is_not_there_names_what_is(zygote: Zygote, run_dir: Path, which: str) -> None:
    ended = zygote.run(run_dir, steps=0, which=which)
    assert ended.code == 1 and f"has no intact checkpoint {which}; steps there: 2, 3, 4, 6, 8" in ended.stderr
    assert not list((run_dir / "checkpoints").glob("*aside*"))


@pytest.mark.parametrize("which", ["", "newest", "step:", "step:-1", "step:1x", "epoch", "BEST"])
def test_a_choice_that_means_nothing_is_refused_with_those_that_do(zygote: Zygote, run_dir: Path, which: str) -> None:
    ended = zygote.run(run_dir, steps=0, which=which)
    assert ended.code == 1 and f"restore({which!r}): use latest, best, none, epoch:N or step:N" in ended.stderr


@pytest.mark.parametrize(("which", "step"), [("best", 4), ("epoch:0", 3), ("step:4", 4)])
@pytest.mark.parametrize("file", ["manifest.json", "state.json", "shard"])
def test_a_damaged_choice_is_an_error_that_names_the_others_and_no_second_best(
    zygote: Zygote, run_dir: Path, which: str, step: int, file: str
) -> None:
    folder = run_dir / "checkpoints" / f"step_{step:08d}"
    flip(shards(folder)[0] if file == "shard" else folder / file, 900)
    before = {name: content for name, content in files_under(run_dir / "checkpoints") if name != "lock.json"}
    ended = zygote.run(run_dir, steps=0, which=which)
    assert ended.code == 1 and "RestoreError" in ended.stderr and "restored" not in ended.stdout
    others = [other for other in (2, 3, 4, 6, 8) if other != step]
    assert f"steps there: {', '.join(map(str, others))}" in ended.stderr
    assert before == {name: content for name, content in files_under(run_dir / "checkpoints") if name != "lock.json"}


def test_newer_steps_are_set_aside_whole_and_named_in_the_events(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    root = run_dir / "checkpoints"
    kept = {name: content for name, content in files_under(root) if name.startswith(("step_00000006", "step_00000008"))}
    assert zygote.run(run_dir, steps=6, which="best", **OPTIONS).digests[6] == reference[6]
    found = {name.replace(".aside-e2", ""): content for name, content in files_under(root) if ".aside-e2/" in name}
    assert found == kept and len(kept) == 6
    (aside,) = events(run_dir, "set-aside")
    assert (aside["steps"], aside["folders"]) == ([6, 8], ["step_00000006.aside-e2", "step_00000008.aside-e2"])


def test_an_explicit_choice_holds_for_the_first_start_of_a_run_only(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    killed = zygote.run(run_dir, steps=8, which="step:3", **OPTIONS, wait_after=[4], after={5: [["exit", 9]]})
    assert (killed.code, killed.restored[0]) == (9, 3)
    again = zygote.run(run_dir, steps=8, which="step:3", **OPTIONS, wait_after=[6], after={7: [["exit", 9]]})
    assert again.restored == (4, reference[4]), "a restart goes on from the newest"
    another = zygote.run(run_dir, steps=8, which="step:2", **OPTIONS)
    assert (another.code, another.restored) == (0, (2, reference[2])), "other words are another choice"
    assert another.digests[8] == reference[8]


def test_by_hand_the_choice_is_taken_each_time_and_under_torchruns_restarts_once(zygote: Zygote, run_dir: Path) -> None:
    def restored(restarts: int) -> int:
        child = zygote.start(
            run_dir,
            run_id=None,
            env={"TORCHELASTIC_RESTART_COUNT": str(restarts)},
            steps=6,
            which="step:3",
            close=False,
            **OPTIONS,
            after={6: [["exit", 9]]},
            wait_after=[4, 6],
        )
        return child.wait().restored[0]

    assert [restored(0), restored(1), restored(0)] == [3, 6, 3]


# --- a checkpoint that does not fit ------------------------------------------------------------------------------

MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "a wider model": (
        {"width": 9},
        r"MismatchError: .*step_00000008 is of another model: model.hidden.bias is F32[9], in the checkpoint F32[5]; model.hidden.weight is F32[9, 6], in the checkpoint F32[5, 6]",
    ),
    "a larger buffer": ({"ballast": 7}, "model.ballast is F32[7], in the checkpoint F32[0]"),
    "another optimizer": ({"optimizer": "SGD"}, "MismatchError: optimizer is SGD here, AdamW in the checkpoint"),
    "other data": (
        {"fingerprint": "0" * 32},
        f"MismatchError: the training data changed since step 8 ({FINGERPRINT} then, {'0' * 32} now)",
    ),
    "another seed of the data order": ({"seed": 4}, "MismatchError: the data order was saved with seed=3, this run has seed=4"),
    "more samples": ({"samples": 24}, "num_samples=23, this run has num_samples=24"),
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_checkpoint_that_does_not_fit_is_refused_by_what_differs_and_kept(zygote: Zygote, run_dir: Path, what: str) -> None:
    change, words = MISFITS[what]
    before = {name: content for name, content in files_under(run_dir / "checkpoints") if name != "lock.json"}
    ended = zygote.run(run_dir, steps=9, **{"fingerprint": FINGERPRINT, **OPTIONS, **change})
    assert ended.code == 1 and words.removeprefix("MismatchError: .*") in ended.stderr, ended.stderr
    assert "Traceback" not in ended.stderr and "restored" not in ended.stdout
    assert before == {name: content for name, content in files_under(run_dir / "checkpoints") if name != "lock.json"}


def test_the_same_script_and_data_are_accepted(zygote: Zygote, reference: dict[int, str], run_dir: Path) -> None:
    """The negative control of the test above."""
    ended = zygote.run(run_dir, steps=8, fingerprint=FINGERPRINT, **OPTIONS)
    assert (ended.code, ended.restored) == (0, (8, reference[8])), ended.stderr
