"""The recipe fsdp-llama, at its smallest, on two CPU ranks: it learns, its shards are the ranks' own, and it resumes exactly."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.training.forking import forked_run, forking

RECIPE = Path(__file__).resolve().parents[2] / "training" / "recipes" / "fsdp-llama"
STEPS, ROLLING_STEPS, CONTEXT, VOCABULARY = 8, 4, 32, 300
DEADLINE_S = 180

pytestmark = pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")


def start(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The recipe under stock torchrun, its run folder in `folder`; waits for its end."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TRAINYARD_R")}
    environment |= {"TRAINYARD_RUN_DIR": str(folder), "TRAINYARD_CHECKPOINTS": str(folder / "checkpoints")}
    environment |= {"TRAINYARD_ROLLING_STEPS": str(ROLLING_STEPS), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", str(RECIPE / "train_llama.py")]
    options = [f"--steps={STEPS}", f"--context={CONTEXT}", "--lr=3e-3", "--warmup-steps=2", *words]
    done = forked_run([*launcher, *options], timeout=DEADLINE_S, env=environment | forking(), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done


def losses(folder: Path, incarnation: int) -> dict[int, float]:
    records = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss"] for record in records if record["incarnation"] == incarnation}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Token ids above a byte, two bytes each, with a rule to learn."""
    path = tmp_path_factory.mktemp("tokens") / "tokens.bin"
    ids_S = torch.arange(40_000, dtype=torch.int64) * 7 % VOCABULARY
    path.write_bytes(ids_S.to(torch.uint16).numpy().astype("<u2").tobytes())
    return path


@pytest.fixture(scope="module")
def run(tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that lost its last checkpoint and was started again."""
    folder = tmp_path_factory.mktemp("llama")
    words = ["--tokens", str(tokens), f"--vocabulary={VOCABULARY}", "--batch=8", "--micro-batch=2"]
    start(folder, *words)
    shutil.rmtree(folder / "checkpoints" / f"step_{STEPS:08d}")
    start(folder, *words)
    return folder


def test_the_model_learns(run: Path) -> None:
    first, *_, last = losses(run, 1).values()
    assert 5.5 < first < 6.0, "an untrained model guesses: ln 300 is 5.7"
    assert last < first - 0.5


def test_a_resumed_run_repeats_the_losses_exactly(run: Path) -> None:
    undisturbed, resumed = losses(run, 1), losses(run, 2)
    assert resumed == {step: loss for step, loss in undisturbed.items() if step > ROLLING_STEPS}


def test_each_rank_saves_only_the_rows_that_it_holds(run: Path) -> None:
    name = "model.model.layers.0.mlp.up_proj.weight"
    rows, whole = [], 176
    for shard in sorted((run / "checkpoints" / f"step_{STEPS:08d}").glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            rows.append(file.get_tensor(name))
    assert [len(part) for part in rows] == [whole // 2, whole // 2]
    assert not torch.equal(rows[0], rows[1]), "every rank must begin with weights of its own"


def test_a_token_outside_of_the_vocabulary_is_refused_before_anything_starts(tokens: Path) -> None:
    words = [sys.executable, str(RECIPE / "train_llama.py"), "--tokens", str(tokens), "--vocabulary=256"]
    done = forked_run(words, timeout=DEADLINE_S)
    assert done.returncode == 1
    assert "token 299 is outside of --vocabulary 256" in done.stderr
