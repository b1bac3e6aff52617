"""Curves as TensorBoard itself reads them, of a run that is killed and resumed; Weights & Biases' offline files likewise."""

from __future__ import annotations

import json
import re
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.training.forking import forked_run
from tests.training.lm_runs import DEADLINE_S, Ended, running, start

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
plugin_accumulator = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_accumulator")

STEPS = 8
OPTIONS = (
    "--steps",
    str(STEPS),
    "--tensorboard",
    "--histogram-interval",
    "2",
    "--sample-interval",
    "3",
    "--sample-bytes",
    "20",
)
ROLLING = {"TRAINYARD_ROLLING_STEPS": "2", "TRAINYARD_KEEP_ROLLING": "100000"}


def start_and_kill_after(folder: Path, step: int) -> None:
    """SIGKILL once that step is told and step 2 is committed."""
    with running(folder, *OPTIONS, "--steps", "100000", after_step=step, env=ROLLING) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not (folder / "checkpoints" / "step_00000002").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """Killed some steps after its first checkpoint, then started again from step 2 and finished."""
    folder = tmp_path_factory.mktemp("charts")
    start_and_kill_after(folder, 5)
    ended = start(folder, *OPTIONS, "--resume", "step:2", env=ROLLING)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture(scope="module")
def reader(run: Ended) -> Any:
    found = accumulator.EventAccumulator(str(run.folder / "tensorboard"), size_guidance={"histograms": 0, "tensors": 0})
    return found.Reload()


@pytest.fixture(scope="module")
def texts(run: Ended) -> Any:
    """The reader of TensorBoard's web pages; the other one does not purge texts."""
    return plugin_accumulator.EventAccumulator(str(run.folder / "tensorboard")).Reload()


def steps_of(points: list[Any]) -> list[int]:
    return [point.step for point in points]


def test_every_curve_goes_on_without_double_points(run: Ended, reader: Any) -> None:
    assert len(run.steps()) > STEPS, "some steps were told twice"
    for tag in ("train/loss", "train/lr", "train/grad_norm", "train/tokens_per_s", "train/step_s"):
        assert steps_of(reader.Scalars(tag)) == list(range(1, STEPS + 1)), tag
    assert steps_of(reader.Scalars("train/val_loss")) == [2, 4, 6, 8]
    last = {line["step"]: line["loss"] for line in run.steps()}
    assert [point.value for point in reader.Scalars("train/loss")] == pytest.approx(list(last.values()), rel=1e-6)


def test_without_the_purge_the_points_would_be_double(run: Ended) -> None:
    """The control: the same files, read without TensorBoard's rule."""
    plain = accumulator.EventAccumulator(str(run.folder / "tensorboard"), purge_orphaned_data=False).Reload()
    assert len(plain.Scalars("train/loss")) > STEPS


def test_each_parameter_has_histograms_of_its_weights_and_gradients(reader: Any) -> None:
    tags = reader.Tags()["histograms"]
    weights = {tag for tag in tags if tag.startswith("weights/")}
    assert {"weights/embedding.weight", "weights/blocks.1.attention.qkv.weight", "weights/head.weight"} <= weights
    assert {tag.replace("weights/", "gradients/") for tag in weights} == set(tags) - weights
    for tag in tags:
        assert steps_of(reader.Histograms(tag)) == [2, 4, 6, 8]
    gradients = [point.histogram_value for point in reader.Histograms("gradients/head.weight")]
    assert all(histogram.num == 256 * 32 and histogram.max > 0 > histogram.min for histogram in gradients)


def test_texts_are_generated_in_mid_run(texts: Any) -> None:
    samples = texts.Tensors("sample/text_summary")
    assert steps_of(samples) == [3, 6]
    assert all(sample.tensor_proto.string_val[0].decode().startswith("    def ") for sample in samples)


def test_starts_and_restores_are_marked(texts: Any, reader: Any) -> None:
    marks = texts.Tensors("run/starts/text_summary")
    told = [(mark.step, mark.tensor_proto.string_val[0].decode().strip()) for mark in marks]
    assert told == [(0, "start 1: began at step 0"), (2, "start 2: restored step 2 (step:2)")]
    assert [(point.step, point.value) for point in reader.Scalars("run/incarnation")] == [(1, 1.0), (3, 2.0)]


def test_the_settings_stand_beside_what_came_of_them(run: Ended, reader: Any) -> None:
    from tensorboard.plugins.hparams import plugin_data_pb2

    content = reader.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    settings = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert settings["lr"].number_value == 3e-3 and settings["parallel"].string_value == "ddp"
    (result,) = reader.Scalars("result/loss")
    assert (result.step, result.value) == (STEPS, pytest.approx(run.column("loss")[-1]))
    assert reader.Scalars("result/best_val_loss")[0].value == pytest.approx(min(run.column("val_loss")))


def test_a_run_that_is_already_done_adds_nothing(run: Ended) -> None:
    before = run.column("loss")
    again = start(run.folder, *OPTIONS, env=ROLLING)
    assert again.code == 0 and again.column("loss") == before
    found = accumulator.EventAccumulator(str(run.folder / "tensorboard")).Reload()
    assert len(found.Scalars("result/loss")) == 1


def test_an_event_folder_that_cannot_be_written_is_one_line_on_every_rank(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("in the way")
    ended = start(tmp_path, *OPTIONS, ranks=2)
    assert ended.code == 1
    lines = [line for line in ended.err.splitlines() if line.startswith("train.py: error: ")]
    assert lines and set(lines) == {
        f"train.py: error: TensorBoard folder {tmp_path}/tensorboard: File exists; free it, or leave TensorBoard off"
    }
    assert not (tmp_path / "steps.jsonl").exists()


# --- Weights & Biases --------------------------------------------------------------------------------------------


FILE_HEADER_BYTES, BLOCK_BYTES, CHUNK_HEADER = 7, 32768, struct.Struct("<IHB")
FULL, FIRST = 1, 2


def offline_records(folder: Path) -> Iterator[Any]:
    """The records of the offline files: LevelDB's log format (checksum, length, type; 32 KiB blocks) behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, position, record = path.read_bytes(), FILE_HEADER_BYTES, b""
        while position + CHUNK_HEADER.size <= len(data):
            left_in_block = BLOCK_BYTES - position % BLOCK_BYTES
            if left_in_block < CHUNK_HEADER.size:
                position += left_in_block
                continue
            _, length, kind = CHUNK_HEADER.unpack_from(data, position)
            position += CHUNK_HEADER.size
            record = (
                data[position : position + length] if kind in (FULL, FIRST) else record + data[position : position + length]
            )
            position += length
            if kind not in (FIRST, 3):  # 3: neither the first nor the last chunk
                yield wandb_internal_pb2.Record.FromString(record)


def test_wandb_offline_keeps_every_step_under_the_id_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    env = {"TRAINYARD_RUN_ID": "0123456789abcdef", "HOME": str(tmp_path)}
    for steps in ("2", "4"):
        ended = start(tmp_path, "--steps", steps, "--wandb", "offline", "--sample-bytes", "0", env=env)
        assert ended.code == 0, ended.err
    told, ids = [], set()
    for record in offline_records(tmp_path):
        if record.HasField("run"):
            ids.add(record.run.run_id)
        values = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        if "train/loss" in values:
            told.append((values["step"], values["train/loss"]))
    assert told == [(line["step"], line["loss"]) for line in ended.steps()] and len(told) == 4
    assert ids == {"0123456789abcdef"}


def test_wandb_online_without_a_key_is_one_line_before_training(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    ended = start(tmp_path, "--steps", "2", "--wandb", "online", env={"HOME": str(tmp_path)})
    assert ended.code == 1 and not (tmp_path / "steps.jsonl").exists()
    assert re.search(r"^train.py: error: wandb online needs WANDB_API_KEY", ended.err, re.MULTILINE), ended.err
    assert "Traceback" not in ended.err


def test_without_the_package_a_script_that_asks_for_wandb_is_told_how_to_get_it(tmp_path: Path) -> None:
    script = "import sys; sys.modules['wandb'] = None; import trainyard; trainyard.Checkpointer('c', wandb='offline')"
    done = forked_run([sys.executable, "-c", script], cwd=tmp_path, timeout=DEADLINE_S)
    assert done.returncode == 1 and "ConfigError: Weights & Biases is asked for, and the package is not there" in done.stderr
