"""Saved with one number of ranks and one layout, restored with another: the same parameters, optimizer state and sample order.

The tensors are those of odd_job.py: uneven, without elements, 0-d, bfloat16.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.exact.odd_job import GLOBAL_BATCH, SAMPLES
from tests.training.exact.runs import DEADLINE_S, ROOT
from tests.training.forking import forked_run, forking

SAVED_STEP, STEPS_AFTER = 6, 5
SAVED_AT = {"fsdp4": ("fsdp", 4), "ddp4": ("ddp", 4), "fsdp2": ("fsdp", 2)}
RESTORED_AT = {
    "fsdp4": [("fsdp", 4), ("fsdp", 2), ("ddp", 2), ("fsdp", 1), ("plain", 1)],
    "ddp4": [("ddp", 4), ("ddp", 2), ("fsdp", 2), ("ddp", 1), ("fsdp", 1), ("plain", 1)],
    "fsdp2": [("fsdp", 4), ("ddp", 4)],
}
PAIRS = [(source, parallel, ranks) for source, targets in RESTORED_AT.items() for parallel, ranks in targets]


def launch(ranks: int, cases: list[dict[str, Any]]) -> None:
    """All cases of one world size in one start of torchrun: a start takes longer than what is tested."""
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("TRAINYARD_RUN", "TRAINYARD_CHECK", "PET_"))
    }
    environment = {**inherited, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **forking()}
    words = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(ranks)]
    command = [sys.executable, *words, "-m", "tests.training.exact.odd_job", json.dumps(cases)]
    done = forked_run(command, cwd=ROOT, env=environment, timeout=DEADLINE_S)
    assert done.returncode == 0, (done.stdout + done.stderr)[:4000]  # torchrun's own traceback comes after the ranks'


@dataclass(frozen=True)
class Told:
    """What the ranks of one case wrote."""

    folder: Path
    ranks: int

    def tensors(self, when: str) -> list[dict[str, torch.Tensor]]:
        return [load_file(self.folder / f"{when}-{rank}.safetensors") for rank in range(self.ranks)]

    def each(self, name: str) -> list[Any]:
        return [json.loads((self.folder / f"told-{rank}.json").read_text())[name] for rank in range(self.ranks)]

    def samples(self) -> list[int]:
        """The global sample sequence of the steps that were trained: batch by batch, the ranks' shares in order."""
        return [index for shares in zip(*self.each("indices"), strict=True) for share in shares for index in share]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Told]:
    """(source,) -> what was saved; (source, layout, ranks) -> what was restored of it, and trained after it."""
    root = tmp_path_factory.mktemp("layouts")
    found: dict[tuple[str, ...], Told] = {}
    saving: dict[int, list[dict[str, Any]]] = {2: [], 4: []}
    restoring: dict[int, list[dict[str, Any]]] = {1: [], 2: [], 4: []}
    for source, (parallel, ranks) in SAVED_AT.items():
        case = {"parallel": parallel, "folder": str(root / source / "checkpoints"), "out": str(root / source / "out")}
        saving[ranks].append({**case, "train": SAVED_STEP, "save": True})
        found[(source,)] = Told(root / source / "out", ranks)
    for source, parallel, ranks in PAIRS:
        folder = root / f"{source}-{parallel}{ranks}"
        case = {"parallel": parallel, "folder": str(folder / "checkpoints"), "out": str(folder / "out"), "train": STEPS_AFTER}
        case |= {"copy_of": str(root / source / "checkpoints"), "draw": (parallel, ranks) == SAVED_AT[source]}
        restoring[ranks].append(case)
        found[source, parallel, str(ranks)] = Told(folder / "out", ranks)
    for ranks, cases in [(2, saving[2]), (4, saving[4] + restoring[4]), (2, restoring[2]), (1, restoring[1])]:
        launch(ranks, cases)
    return found


def same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    """The same names, types, shapes and values. (Values here are finite and no -0.0 is among them that is not in the other.)"""
    return ours.keys() == expected.keys() and all(
        ours[key].dtype == value.dtype and ours[key].shape == value.shape and torch.equal(ours[key], value)
        for key, value in expected.items()
    )


@pytest.mark.parametrize(("source", "parallel", "ranks"), PAIRS)
def test_every_rank_restores_the_very_parameters_and_optimizer_state(
    source: str, parallel: str, ranks: int, told: dict[tuple[str, ...], Told]
) -> None:
    expected = told[(source,)].tensors("trained")[0]
    restored = told[source, parallel, str(ranks)]
    assert restored.each("restored") == [SAVED_STEP] * ranks
    assert [same(ours, expected) for ours in restored.tensors("restored")] == [True] * ranks


@pytest.mark.parametrize(("source", "parallel", "ranks"), PAIRS)
def test_the_global_sample_sequence_goes_on_without_a_gap_or_a_repetition(
    source: str, parallel: str, ranks: int, told: dict[tuple[str, ...], Told]
) -> None:
    before, after = told[(source,)], told[source, parallel, str(ranks)]
    assert after.each("position") == [SAVED_STEP * GLOBAL_BATCH] * ranks
    whole = before.samples() + after.samples()
    assert len(whole) == (SAVED_STEP + STEPS_AFTER) * GLOBAL_BATCH > SAMPLES
    assert sorted(whole[:SAMPLES]) == list(range(SAMPLES)), "every sample of the first epoch once"
    assert whole == (told[("fsdp4",)].samples() + told["fsdp4", "fsdp", "4"].samples()), "the same at any world size"


@pytest.mark.parametrize("source", ["fsdp4", "ddp4"])
def test_at_the_same_world_size_each_rank_gets_its_own_generators_back(source: str, told: dict[tuple[str, ...], Told]) -> None:
    """Python, NumPy and torch: the next draw after the restore is the one that followed the save."""
    parallel, ranks = SAVED_AT[source]
    drawn = told[source, parallel, str(ranks)].each("draws")
    assert drawn == told[(source,)].each("draws")
    assert len({tuple(draws[:2]) for draws in drawn}) == ranks, "each rank has its own"


def test_the_odd_tensors_are_what_they_should_be(told: dict[tuple[str, ...], Told]) -> None:
    """Against a test that compares nothing: training moved them, and the saved files hold the awkward shapes."""
    before, after = told[("fsdp4",)].tensors("restored")[0], told[("fsdp4",)].tensors("trained")[0]
    assert after["model.empty"].shape == (0, 3)
    assert after["model.gain"].shape == () and after["optimizer.gain.step"].item() == SAVED_STEP
    assert after["model.short.weight"].dtype == torch.bfloat16
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert moved == before.keys() - {"model.empty"}
    assert not same(before, {key: after[key] for key in before})
