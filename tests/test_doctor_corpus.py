"""The harness that makes and scores the doctor's held-out cases; the cases themselves are made by hand (tests/doctor_corpus/README.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.doctor_corpus.__main__ import make_one
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.scoring import Result, report
from tests.doctor_corpus.truth import Case, Truth, all_cases

ENOUGH, ENOUGH_REAL = 100, 60


def result(told: dict[str, Any], **known: Any) -> Result:
    truth = {
        "cause": "host-oom",
        "rank": 2,
        "node": None,
        "restart": "RESTART",
        "real": True,
        "also": [],
        "also_rank": [],
        "also_restart": [],
    }
    usual = {"name": "x", "cause": "host-oom", "rank": 2, "node": None, "restart": "RESTART", "seconds": 0.1}
    return Result(truth={**truth, **known}, **{**usual, **told})


def test_there_are_enough_cases() -> None:
    """Of all, and of those whose fault really happens."""
    cases = all_cases().values()
    assert len(cases) >= ENOUGH and sum(case.truth.real for case in cases) >= ENOUGH_REAL


@pytest.mark.parametrize("name", ["image-denied", "node-not-ready", "nccl-watchdog-one-rank-behind"])
def test_a_case_has_evidence_and_truth(name: str, tmp_path: Path) -> None:
    assert make_one(all_cases()[name], tmp_path).startswith("made")
    truth = json.loads((tmp_path / name / "truth.json").read_text())
    about = json.loads((tmp_path / name / "evidence" / "evidence.json").read_text())
    assert truth["cause"] and truth["real"] is False and (Path(__file__).parents[1] / truth["made_by"]).is_file()
    assert about["format"] == 1 and {pod["name"] for pod in about["pods"]} == {
        path.name for path in (tmp_path / name / "evidence/pods").iterdir()
    }


@pytest.mark.parametrize(("log", "kept"), [("step 1\nstep 2\n", False), ("step 1\nBus error\n", True)])
def test_only_a_fault_that_happened_is_kept(log: str, kept: bool, tmp_path: Path) -> None:
    """A job that ended in another way than its case wants is no case."""

    def make(bench: Bench) -> None:
        bench.write("train.log", log)

    case = Case("bus", Truth(cause="bus-error", rank=1, restart="STOP", proof="Bus error"), make, "here")
    assert make_one(case, tmp_path).startswith("made" if kept else "FAILED")
    assert (tmp_path / "bus").exists() is kept


@pytest.mark.parametrize(
    ("told", "known", "cause", "rank", "restart", "harmful"),
    [
        ({}, {}, True, True, True, False),
        ({"cause": "killed"}, {}, False, True, True, False),
        ({"cause": "killed"}, {"also": ["killed"]}, True, True, True, False),
        ({"rank": None}, {}, True, False, True, False),
        ({"rank": None}, {"also_rank": ["any"]}, True, True, True, False),
        ({"restart": "RESTART_ELSEWHERE"}, {}, True, True, True, False),
        ({"restart": "STOP"}, {}, True, True, False, True),
        ({"restart": "STOP"}, {"also_restart": ["STOP"]}, True, True, True, False),
        ({"restart": None}, {}, True, True, False, False),
    ],
)
def test_an_answer_is_held_against_the_truth(
    told: dict[str, Any], known: dict[str, Any], cause: bool, rank: bool, restart: bool, harmful: bool
) -> None:
    each = result(told, **known)
    assert (each.cause_right, each.rank_right, each.restart_right, each.stops_what_recovers) == (cause, rank, restart, harmful)


def test_the_report_counts_and_names_misses() -> None:
    healthy = {"cause": "none", "restart": None, "rank": None}
    results = [
        result({}),
        result({"cause": "unknown", "name": "hard"}),
        result({"cause": "killed", "name": "claimed"}, **healthy),
    ]
    text = report(results)
    assert "| root cause right | 1 of 3 | 0.333 |" in text and "claims on what is healthy: 1" in text and "`unknown`: 1" in text
    assert "| hard | cause | host-oom, unknown |" in text and "| none | killed | 1 |" in text
