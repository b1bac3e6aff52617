"""Logs that transformers and Lightning really print, held against what these trainers know themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from monitor_call import call

TRAINERS = Path(__file__).parent / "trainers"


def train(script: str, folder: Path) -> Path:
    """Run it as a job runs: stdout and stderr in one log."""
    log = folder / "train.log"
    quiet = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": ""}
    command = [sys.executable, str(TRAINERS / script), str(folder)]
    with log.open("wb") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=240, env={**os.environ, **quiet})
    assert done.returncode == 0, "\n".join(each.read_text(errors="replace")[-2000:] for each in folder.glob("*.log"))
    return log


@pytest.fixture(scope="module")
def transformers_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("transformers")
    train("hf_tiny.py", folder)
    return folder


@pytest.mark.parametrize(("name", "source"), [("lines", "progress bar"), ("blocks", "order")])
def test_a_log_of_transformers_is_read_as_its_own_state_tells(transformers_logs: Path, name: str, source: str) -> None:
    """Where stdout is buffered the bars stand elsewhere, so steps are not believed but numbered."""
    data = call("metrics", transformers_logs / f"{name}.log", "--limit", 100)["data"]
    history = json.loads((transformers_logs / name / "checkpoint-40" / "trainer_state.json").read_text())["log_history"]
    wanted = [entry for entry in history if "loss" in entry]
    assert data["format"] == "huggingface" and data["step_source"] == source
    for metric, theirs in (("loss", "loss"), ("grad_norm", "grad_norm"), ("lr", "learning_rate")):
        assert [point[metric] for point in data["points"]] == pytest.approx([entry[theirs] for entry in wanted], rel=1e-3)
    steps = [entry["step"] for entry in wanted] if source == "progress bar" else list(range(1, 11))
    assert [point["step"] for point in data["points"]] == steps
    evals = [entry for entry in history if "eval_loss" in entry]
    assert [entry["eval_loss"] for entry in data["evals"]] == pytest.approx([entry["eval_loss"] for entry in evals], rel=1e-3)
    assert [entry["step"] for entry in data["evals"]] == ([20, 40] if source == "progress bar" else [5, 10])
    assert data["summary"]["total_steps"] == (40 if source == "progress bar" else None)
    assert data["throughput_unit"] == "samples/s" and data["summary"]["ended"]


def test_a_log_of_lightning_is_read_as_its_own_losses_tell(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    log = train("lightning_tiny.py", tmp_path)
    told = dict(json.loads((tmp_path / "told.json").read_text()))
    table = call("metrics", tmp_path / "csv" / "version_0" / "metrics.csv", "--limit", 100)["data"]
    assert table["format"] == "lightning" and table["total"] == 15
    assert [point["loss"] for point in table["points"]] == pytest.approx(
        [told[point["step"]] for point in table["points"]], rel=1e-5
    )
    assert table["summary"]["evals"] == 3

    bar = call("metrics", log, "--limit", 100)["data"]
    assert bar["format"] == "lightning" and "bar" in bar["fields"]["step"] and bar["throughput_unit"] == "batches/s"
    assert bar["summary"]["last_step"] == 30 and bar["summary"]["restarts"] == 0
    # A bar is drawn after its batch: batch n shows the loss of step n - 1, counted from 0. It need not be drawn for every batch.
    assert len(bar["points"]) >= 10
    assert [point["loss"] for point in bar["points"]] == pytest.approx(
        [told[point["step"] - 1] for point in bar["points"]], abs=6e-3
    )


SAMPLES = [("transformers-5.23.0.log", "huggingface", 40, 1.26, 1.401), ("lightning-2.6.6.log", "lightning", 30, 0.251, 0.239)]


@pytest.mark.parametrize(("name", "format", "last_step", "last_loss", "last_eval_loss"), SAMPLES)
def test_a_kept_log_is_read_where_the_trainer_is_not_installed(
    name: str, format: str, last_step: int, last_loss: float, last_eval_loss: float
) -> None:
    data = call("metrics", Path(__file__).parent / "samples" / name)["data"]
    summary = data["summary"]
    assert (data["format"], summary["last_step"]) == (format, last_step)
    assert (summary["last_loss"], summary["last_eval_loss"]) == (last_loss, last_eval_loss)
