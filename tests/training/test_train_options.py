"""The trainer's further options, each by what it really does: loader workers, early stopping, fp16, profile, compile, dependencies."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

from tests.training.lm_runs import DEADLINE_S, TRAINING, Ended, make_trainer, ramp, running, start, step

import lm_profile  # isort: skip
import lm_showing  # isort: skip
import lm_stopping  # isort: skip

EXACT = ("--steps", "8", "--dropout", "0.1", "--gradient-accumulation", "2", "--sample-bytes", "0")
STOPS_EARLY = ("--patience", "1", "--min-delta", "100")
"""Over after the second evaluation, that is after step 4: no loss is ever better by 100 nats than the first."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return start(tmp_path_factory.mktemp("whole"), *EXACT)


def assert_same_training(run: Ended, whole: Ended) -> None:
    assert run.code == 0, run.err
    for name in ("loss", "grad_norm", "val_loss", "lr"):
        assert run.column(name) == whole.column(name) != [], name


# --- loader workers ----------------------------------------------------------------------------------------------


def test_workers_make_the_same_batches_and_leave_the_random_numbers_alone(whole: Ended, tmp_path: Path) -> None:
    assert_same_training(start(tmp_path, *EXACT, "--workers", "2", "--prefetch", "3"), whole)


def test_batches_read_ahead_are_not_lost_when_a_run_goes_on(whole: Ended, tmp_path: Path) -> None:
    first = start(tmp_path, *EXACT, *STOPS_EARLY, "--workers", "2", "--prefetch", "4")
    assert (first.code, len(first.steps())) == (0, 4), first.err
    assert_same_training(start(tmp_path, *EXACT, "--workers", "1"), whole)


def test_a_stop_reaches_the_training_and_takes_its_workers_along(tmp_path: Path) -> None:
    """The signal goes to the workers too, as a launcher or a terminal sends it; the last step still gets its batch."""
    with running(tmp_path, "--steps", "100000", "--workers", "2", after_step=3) as process:
        workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert len(workers) == 2
        for pid in (*workers, process.pid):
            os.kill(pid, signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 143
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    last = json.loads((tmp_path / "steps.jsonl").read_text().splitlines()[-1])["step"]
    assert (tmp_path / "checkpoints" / f"step_{last:08}" / "manifest.json").exists()


# --- early stopping ----------------------------------------------------------------------------------------------


def test_a_run_stops_early_says_so_and_is_finished(tmp_path: Path) -> None:
    for _ in range(2):  # started again it is still over
        ended = start(tmp_path, *EXACT, *STOPS_EARLY)
        assert (ended.code, [line["step"] for line in ended.steps()]) == (0, [1, 2, 3, 4]), ended.err
    assert [event["step"] for event in ended.events("early-stop")] == [4, 4]
    assert all(event["finished"] for event in ended.events("closed"))


def test_patience_counts_evaluations_in_a_row_and_nan_is_no_improvement() -> None:
    stopping = lm_stopping.EarlyStopping(2, min_delta=0.1)
    for loss, over in ((3.0, False), (2.95, False), (2.8, False), (float("nan"), False), (2.75, True)):
        stopping.update(loss)
        assert stopping.is_over == over, loss
    again = lm_stopping.EarlyStopping(3, min_delta=0.1)
    again.load_state_dict(json.loads(json.dumps(stopping.state_dict())))
    assert not again.is_over, "more patience goes on"
    again.update(2.75)
    assert again.is_over and not lm_stopping.EarlyStopping(0).is_over


# --- fp16 --------------------------------------------------------------------------------------------------------


def test_fp16_scales_the_loss_and_goes_on_with_the_scale_it_had(tmp_path: Path) -> None:
    options = (*EXACT, "--precision", "fp16")
    unbroken = start(tmp_path / "whole", *options)
    assert start(tmp_path / "run", *options, *STOPS_EARLY).code == 0
    assert_same_training(start(tmp_path / "run", *options), unbroken)
    state = json.loads((tmp_path / "run/checkpoints/step_00000008/state.json").read_text())
    scaler = json.dumps(state["shared"]["objects"]["scaler"])
    assert '"scale"' in scaler and '"_growth_tracker"' in scaler


def test_an_overflow_in_fp16_skips_the_step_and_lowers_the_scale() -> None:
    trainer = make_trainer("--precision", "fp16")
    before = [parameter.clone() for parameter in trainer.net.parameters()]
    trainer.net.norm.weight.register_hook(lambda gradient: gradient * float("inf"))
    scale = trainer.scaler.get_scale()
    step(trainer, torch.arange(8))
    assert trainer.scaler.get_scale() == scale / 2
    assert all(torch.equal(left, right) for left, right in zip(before, trainer.net.parameters(), strict=True))


# --- profile -----------------------------------------------------------------------------------------------------


def test_a_profile_holds_the_steps_asked_for_and_changes_no_number(whole: Ended, tmp_path: Path) -> None:
    run = start(tmp_path, *EXACT, "--profile", "3:4")
    assert_same_training(run, whole)
    trace = json.loads(gzip.decompress((tmp_path / "profile" / "steps-3-4.json.gz").read_bytes()))
    updates = [event for event in trace["traceEvents"] if str(event.get("name", "")).startswith("Optimizer.step#AdamW")]
    assert len(updates) == 2
    assert "aten::mm" in (tmp_path / "profile" / "steps-3-4.txt").read_text()
    assert re.search(r"^profile: .*aten::", run.out, re.MULTILINE)


def test_outside_its_steps_the_profiler_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profiler, on = lm_profile.StepProfiler(lm_profile.StepRange(2, 3), tmp_path), []
    trainer = make_trainer()
    for number in range(1, 6):
        profiler.before(number)
        step(trainer, torch.arange(8))
        on.append(torch.autograd._profiler_enabled())
        profiler.after(number)
    assert on == [False, True, True, False, False]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["steps-2-3.json.gz", "steps-2-3.txt"]


def test_a_disk_that_takes_no_profile_and_no_sample_ends_no_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    profiler = lm_profile.StepProfiler(lm_profile.StepRange(1, 1), tmp_path / "file" / "profile")
    profiler.before(1)
    trainer = make_trainer()
    step(trainer, torch.arange(8))
    assert profiler.after(1) is None
    monkeypatch.setenv("TRAINYARD_RUN_DIR", str(tmp_path / "file"))
    lm_showing.show_sample(trainer.net, trainer.args, rank=0)
    said = capsys.readouterr()
    assert "profile: Self CPU" in said.out and "sample: " in said.out
    assert said.err.count("Not a directory") == 2


def test_a_run_that_ends_within_the_range_writes_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profiler = lm_profile.StepProfiler(lm_profile.StepRange(1, 9), tmp_path)
    profiler.before(4)  # resumed within it, too
    step(make_trainer(), torch.arange(8))
    profiler.after(4)
    assert profiler.close(4) == tmp_path / "steps-4-4.json.gz"
    assert profiler.close(4) is None


# --- compile -----------------------------------------------------------------------------------------------------


@pytest.mark.when_changed("training/*.py", "training/trainyard/**/*.py", "tests/training/lm_runs.py")
@pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
def test_compiled_blocks_train_alike_and_their_checkpoints_fit_the_plain_model(tmp_path: Path) -> None:
    """Without dropout: compiled code draws other random numbers."""
    env = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    options = ("--steps", "2", "--layers", "1", "--eval-batches", "1", "--sample-bytes", "0")
    first = start(tmp_path / "run", *options, "--compile", env=env)
    assert first.code == 0, first.err
    assert list((tmp_path / "cache").rglob("*.cpp")), "something was compiled"
    second = start(tmp_path / "run", *options)
    assert second.code == 0, second.err
    assert second.column("loss") == pytest.approx(start(tmp_path / "plain", *options).column("loss"), rel=1e-5)


# --- dependencies ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return folder / "bin" / "python"


def dependencies(python: Path | str, *options: str) -> tuple[int, str, str]:
    command = [str(python), str(TRAINING / "train.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def test_auto_deps_lists_what_these_options_need_and_how_to_get_it(bare_python: Path) -> None:
    code, told, _ = dependencies(bare_python, "--auto-deps", "--wandb", "offline")
    assert code == 1
    assert re.search(r"^torch +missing +the training itself$", told, re.MULTILINE)
    assert re.search(r"uv pip install 'torch>=.*'wandb>=", told) and "tensorboard" not in told
    assert "'trainyard" not in told, "a package index may hold another project of that name"


def test_auto_deps_says_when_nothing_is_missing() -> None:
    code, told, _ = dependencies(sys.executable, "--auto-deps")
    assert (code, told.splitlines()[-1].endswith("nothing is missing")) == (0, True)


def test_a_missing_package_is_one_line_with_the_command_that_brings_it(bare_python: Path) -> None:
    code, _, error = dependencies(bare_python, "--steps", "1")
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("error: missing: torch") and "Install with: uv pip install 'torch>=" in error
    assert "Traceback" not in error


def test_help_is_shown_as_far_as_it_can_be_without_the_packages(bare_python: Path) -> None:
    code, told, error = dependencies(bare_python, "--help")
    assert code == 2 and "python training/train.py --steps 100" in told and error.startswith("error: missing: torch")


def test_the_loss_is_the_same_with_and_without_the_options_that_only_look(whole: Ended, tmp_path: Path) -> None:
    looking = ("--histogram-interval", "2", "--sample-interval", "3", "--tensorboard")
    assert_same_training(start(tmp_path, *EXACT, *looking), whole)


def test_a_sample_leaves_the_model_in_training() -> None:
    trainer = make_trainer("--dropout", "0.1", "--sample-bytes", "5")
    assert lm_showing.sample(trainer.net, trainer.args) == lm_showing.sample(trainer.net, trainer.args)
    assert trainer.model.training and len(ramp()) > 0
