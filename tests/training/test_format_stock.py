"""Stock safetensors and stock torch.distributed.checkpoint read what an FSDP2 run at four ranks saved, optimizer state included."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors import safe_open
from safetensors.torch import load_file

from tests.training.forking import forked_run, forking
from tests.training.rt_folder import flip, header_bytes, shards
from tests.training.rt_stock import REFERENCE, differences, flat

ROOT = Path(__file__).parents[2]
DEADLINE_S = 240.0

pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.distributed is disabled, unavailable or uninitialized"
)  # one process reads


def torchrun(ranks: int, verb: str, folder: Path) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_RUN")}
    env |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **forking()}
    command = [*launcher, "-m", "tests.training.rt_stock", verb, str(folder)]
    return forked_run(command, cwd=ROOT, env=env, timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Step 3 of an FSDP2 run at four ranks, and every tensor of it whole in reference.safetensors."""
    folder = tmp_path_factory.mktemp("written")
    ended = torchrun(4, "write", folder)
    assert ended.returncode == 0, ended.stderr
    assert len(shards(folder / "checkpoints" / "step_00000003")) == 4
    return folder


@pytest.fixture
def step_folder(written: Path) -> Path:
    return written / "checkpoints" / "step_00000003"


def blank_like(reference: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The nested state dict that those keys are the flattening of, with other values."""
    nested: dict[str, Any] = {"model": {}, "optimizer": {"state": {}}}
    for key, tensor in reference.items():
        value = torch.full_like(tensor, 0 if tensor.dtype == torch.bool else 77)
        if key.startswith("model."):
            nested["model"][key.removeprefix("model.")] = value
        else:
            name, _, slot = key.removeprefix("optimizer.state.").rpartition(".")
            nested["optimizer"]["state"].setdefault(name, {})[slot] = value
    return nested


def test_stock_dcp_reads_it_in_one_process_exactly(written: Path, step_folder: Path) -> None:
    reference = load_file(written / REFERENCE)
    target = blank_like(reference)
    assert len(differences(flat(target), reference)) == sum(bool(tensor.numel()) for tensor in reference.values())
    dcp.load(target, storage_reader=dcp.HuggingFaceStorageReader(str(step_folder)), no_dist=True)
    assert differences(flat(target), reference) == []


def test_stock_dcp_reads_it_at_two_ranks_into_sharded_tensors_exactly(written: Path) -> None:
    ended = torchrun(2, "read", written)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    agreed = re.findall(r"rank (\d) of 2: (\d+) tensors, different: \[\]", ended.stdout)
    assert sorted(agreed) == [(str(rank), str(len(load_file(written / REFERENCE)))) for rank in range(2)]


def test_the_odd_sizes_are_in_it(written: Path) -> None:
    reference = load_file(written / REFERENCE)
    shapes = {key: tuple(tensor.shape) for key, tensor in reference.items()}
    assert shapes["model.embed.weight"] == (5, 7) and shapes["model.nothing"] == (0, 3) and shapes["model.seen"] == ()
    assert shapes["optimizer.state.embed.weight.exp_avg"] == (5, 7) and shapes["optimizer.state.out.weight.max_exp_avg_sq"] == (
        1,
        3,
    )
    assert shapes["optimizer.state.out.bias.step"] == () and reference["model.narrow.weight"].dtype == torch.bfloat16
    assert any(bool(tensor.any()) for key, tensor in reference.items() if key.endswith("exp_avg"))


def test_stock_safetensors_reads_every_block_and_together_they_are_the_state(written: Path, step_folder: Path) -> None:
    reference, seen = load_file(written / REFERENCE), dict.fromkeys(load_file(written / REFERENCE), 0)
    for path in shards(step_folder):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118
                seen[key] += file.get_tensor(key).numel()
    assert seen == {key: tensor.numel() for key, tensor in reference.items()}
    rows = torch.cat(
        [load_file(path)["model.embed.weight"] for path in shards(step_folder) if "model.embed.weight" in load_file(path)]
    )
    assert differences({"w": rows}, {"w": reference["model.embed.weight"]}) == []


def test_the_comparison_sees_one_bit(written: Path, step_folder: Path) -> None:
    """The negative control; and why trainyard verifies: the stock reader takes the flipped bit for a value."""
    reference, shard = load_file(written / REFERENCE), shards(step_folder)[0]
    bit = 8 * header_bytes(shard) + 100
    flip(shard, bit)
    target = blank_like(reference)
    dcp.load(target, storage_reader=dcp.HuggingFaceStorageReader(str(step_folder)), no_dist=True)
    flip(shard, bit)
    assert len(differences(flat(target), reference)) == 1
