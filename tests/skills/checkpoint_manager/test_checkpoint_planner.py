"""`plan`: its sizes against real checkpoints, its measurement of a folder, and words it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_checkpoints import PROGRAM, ROOT, Answer, call, wait_for
from planner_calls import plan, size, told

from tests.training.forking import forked_run

LAYERS, WIDTH = 6, 256
PARAMS = LAYERS * WIDTH * WIDTH


# --- sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "bytes_per_param"),
    [
        (["--dtype", "fp32"], 4 + 8),
        (["--dtype", "bf16"], 2 + 4),
        (["--dtype", "bf16", "--optimizer-dtype", "fp32"], 2 + 8),
        (["--dtype", "bf16", "--master-weights"], 2 + 8 + 4),
        (["--dtype", "bf16", "--optimizer", "adam"], 2 + 4),
        (["--optimizer", "sgd"], 4),
        (["--optimizer", "sgd-momentum"], 8),
        (["--optimizer", "lion"], 8),
        (["--optimizer", "muon"], 8),
        (["--optimizer", "adamw8bit", "--dtype", "bf16"], 2 + 2 * (1 + 4 / 256)),
        (["--optimizer", "adafactor"], 4 + 4 * 2 / 4096),
        (["--dtype", "fp8", "--master-weights"], 1 + 8 + 4),
    ],
)
def test_bytes_a_parameter_are_those_of_the_table(words: list[str], bytes_per_param: float) -> None:
    data = plan("--params", "7e9", *words)
    assert data["bytes_per_param"] == pytest.approx(bytes_per_param)
    assert size(data, "checkpoint") == pytest.approx(7e9 * bytes_per_param, abs=2)
    assert sum(part["size_bytes"] for part in data["parts"]) == size(data, "checkpoint")


def test_space_by_hand_for_seven_billion_parameters_on_four_nodes() -> None:
    data = plan("--params", "7B", "--dtype", "bf16", "--nodes", "4", "--keep-rolling", "3", "--keep-epochs", "2")
    assert data["ranks"] == 32
    assert size(data, "checkpoint") == 42_000_000_000
    assert size(data, "rank") == 1_312_500_000
    assert size(data, "node_memory") == 10_500_000_000
    assert size(data, "disk") == 7 * 42_000_000_000  # 3 rolling, 2 epochs, best, and one being written


def test_the_volume_in_the_words_of_a_claim() -> None:
    """576 GB are 536.4 GiB, with 15 percent 617; a copy of 96 GB takes 103 of them."""
    data = plan("--params", "8e9", "--nodes", "4", "--keep-rolling", "3", "--keep-epochs", "1")
    rows = {row["id"]: row["size"] for row in data["space"]}
    assert (rows["disk"], rows["volume"], rows["fsx"], rows["one_fewer"]) == ("576.0 GB", "617Gi", "1200Gi", "103Gi")
    large = plan("--params", "70e9", "--nodes", "16", "--keep-rolling", "3", "--keep-epochs", "1")
    rows = {row["id"]: row["size"] for row in large["space"]}
    assert (rows["volume"], rows["fsx"]) == ("5398Gi", "7200Gi")


@pytest.mark.parametrize("written", ["7e9", "7B", "7b", "7000000000", "7.0e9", "7000M", ".007T"])
def test_numbers_as_people_write_them(written: str) -> None:
    assert size(plan("--params", written, "--optimizer", "sgd"), "checkpoint") == 28_000_000_000


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of planner_job.py, written by two ranks."""
    folder = tmp_path_factory.mktemp("states")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("TRAINYARD_RUN", "TRAINYARD_CHECK"))}
    environment |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(Path(__file__).with_name("planner_job.py")), str(folder)]
    forked_run(command, timeout=240, env=environment, cwd=ROOT).check_returncode()
    return folder


def header_bytes(shard: Path) -> int:
    with shard.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


@pytest.mark.parametrize(
    ("case", "optimizer", "dtype", "slots"),
    [
        ("adamw-fp32", "adamw", "fp32", {"exp_avg", "exp_avg_sq"}),
        ("adamw-bf16", "adamw", "bf16", {"exp_avg", "exp_avg_sq"}),
        ("sgd-fp32", "sgd", "fp32", set()),
        ("sgd-momentum-fp32", "sgd-momentum", "fp32", {"momentum_buffer"}),
        ("muon-bf16", "muon", "bf16", {"momentum_buffer"}),
    ],
)
def test_a_real_checkpoint_has_the_planned_bytes_and_the_rest_is_explained(
    saved: Path, case: str, optimizer: str, dtype: str, slots: set[str]
) -> None:
    data = plan("--params", str(PARAMS), "--optimizer", optimizer, "--dtype", dtype, "--gpus-per-node", "2")
    folder = saved / case / "step_00000001"
    tensors = json.loads((folder / "manifest.json").read_text())["tensors"]
    steps = [key for key in tensors if key.endswith(".step")]
    others = {key.rpartition(".")[2] for key in tensors if key.startswith("optimizer.")} - {"step"}
    assert others == slots, "the plan counts exactly the slots that are there"

    shards = sorted(folder.glob("*.safetensors"))
    on_disk = sum(path.stat().st_size for path in folder.iterdir())
    text = (folder / "state.json").stat().st_size + (folder / "manifest.json").stat().st_size
    explained = size(data, "checkpoint") + 4 * len(steps) + sum(map(header_bytes, shards)) + text
    assert on_disk == explained
    assert on_disk == pytest.approx(size(data, "checkpoint"), rel=0.06)  # the rest is the same for a model of any size
    assert len(shards) == 2
    assert all(shard.stat().st_size == pytest.approx(size(data, "rank"), rel=0.02) for shard in shards)


def test_adafactor_is_an_estimate_that_counts_little(saved: Path) -> None:
    data = plan("--params", str(PARAMS), "--optimizer", "adafactor", "--gpus-per-node", "2")
    shards = list((saved / "adafactor-fp32" / "step_00000001").glob("*.safetensors"))
    assert sum(shard.stat().st_size for shard in shards) == pytest.approx(size(data, "checkpoint"), rel=0.02)
    assert "an estimate" in told(data)


def test_another_optimizer_would_not_have_passed(saved: Path) -> None:
    data = plan("--params", str(PARAMS), "--optimizer", "sgd-momentum", "--gpus-per-node", "2")
    shards = list((saved / "adamw-fp32" / "step_00000001").glob("*.safetensors"))
    assert sum(shard.stat().st_size for shard in shards) > 1.4 * size(data, "checkpoint")


# --- measuring ---------------------------------------------------------------------------------------------------


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder where writing is fast."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="trainyard-test-", dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def test_a_measurement_tells_seconds_and_leaves_nothing(in_memory: Path) -> None:
    (in_memory / "mine").write_text("mine")
    answer = call("plan", "--params", "125M", "--gpus-per-node", "2", "--measure", in_memory)
    data = answer.data
    assert answer.code == 0 and answer.document["changed"] == []
    assert data["write_bytes_per_s_per_node"] > 1e6
    assert data["write_s"] == pytest.approx(1.5e9 / data["write_bytes_per_s_per_node"], rel=1e-3)
    assert "by one process on this machine" in told(data)
    assert [path.name for path in in_memory.iterdir()] == ["mine"]


def opened_files(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            found.append(os.readlink(link))
    return found


def test_a_measurement_that_is_killed_leaves_nothing(in_memory: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, PROGRAM, "plan", "--params", "1e9", "--measure", in_memory],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def writing() -> bool:
        assert process.poll() is None, "it ended before it could be killed"
        return any(name.startswith(str(in_memory)) for name in opened_files(process.pid))

    try:
        wait_for(writing)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
    assert list(in_memory.iterdir()) == []


def refused(*words: str | Path) -> Answer:
    answer = call("plan", *words)
    assert answer.document["error"]["hint"]
    return answer


@pytest.mark.parametrize(
    ("folder", "code", "words"),
    [("/nonexistent/folder", 3, "is not a folder"), (str(PROGRAM), 3, "is not a folder"), ("/proc", 5, "too little space")],
)
def test_a_folder_that_cannot_be_measured_is_named(folder: str, code: int, words: str) -> None:
    answer = refused("--params", "1e9", "--measure", folder)
    assert answer.code == code and words in answer.document["error"]["message"]
    assert folder in answer.document["error"]["message"]


# --- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--params"),
        (["--params", "seven"], "'seven' is not a number of parameters; write 7e9, 7B or 125M"),
        (["--params", "-7e9"], "not a number of parameters"),
        (["--params", "0"], "not a number of parameters"),
        (["--params", "nan"], "not a number of parameters"),
        (["--params", "1.5"], "not a number of parameters"),
        (["--params", "1e999"], "not a number of parameters"),
        (["--params", "7e9 B"], "not a number of parameters"),
        (["--params", "\u0667"], "not a number of parameters"),
        (["--params", "7e9", "--optimizer", "adagrad"], "adagrad"),
        (["--params", "7e9", "--dtype", "int4"], "int4"),
        (["--params", "7e9", "--nodes", "0"], "--nodes"),
        (["--params", "7e9", "--write-bandwidth", "16Gbit/s"], "16 Gbit/s are 2GB/s"),
        (["--params", "7e9", "--write-bandwidth", "2gb/s"], "no bandwidth in bytes"),
        (["--params", "7e9", "--write-bandwidth", "0"], "no bandwidth in bytes"),
        (["--params", "7e9", "--mtbf-hours-per-node", "inf"], "not a number above 0"),
        (["--params", "7e9", "--mtbf-hours-per-node", "nan"], "not a number above 0"),
        (["--params", "7e9", "--step-seconds", "0"], "not a number above 0"),
        (["--params", "7e9", "--usd-per-node-hour", "free"], "'free' is not a number above 0"),
        (["--params", "7e9", "--keep-rolling", "0"], "--keep-rolling"),
        (["--params", "7e9", "--measure", "/tmp", "--write-bandwidth", "2GB/s"], "exclude each other"),
        (["--params", "7e9", "--optimizer", "adamw8bit", "--optimizer-dtype", "fp32"], "a format of its own"),
    ],
)
def test_wrong_words_are_a_usage_error_that_names_them(words: list[str], message: str) -> None:
    answer = refused(*words)
    assert (answer.code, answer.error) == (2, "usage")
    assert message in answer.document["error"]["message"]


@pytest.mark.parametrize(
    ("written", "bytes_per_s"),
    [
        ("2GB/s", 2e9),
        ("2GB", 2e9),
        ("500MB/s", 5e8),
        ("1.5GiB/s", 1.5 * 2**30),
        ("2e9", 2e9),
        ("100kB/s", 1e5),
        ("1TB/s", 1e12),
    ],
)
def test_bandwidths_as_people_write_them(written: str, bytes_per_s: float) -> None:
    assert plan("--params", "7e9", "--write-bandwidth", written)["write_bytes_per_s_per_node"] == bytes_per_s
