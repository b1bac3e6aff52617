"""Slow ranks: named where they are slow in five windows, and in no other case."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from diagnose_call import diagnose
from monitor_call import call, check

BEGAN = 1_790_000_000.0


def run_of(path: Path, ranks: int, windows: int = 8, *, own: dict[tuple[int, int], float] | None = None, seed: int = 1) -> Path:
    """A run folder whose ranks work 0.40 s a step, give or take a tenth; `own`: (rank, window) -> another time, window -1: all."""
    dice, other = random.Random(seed), own or {}
    (path / "ranks").mkdir(parents=True)
    start = {"time": BEGAN, "type": "start", "source": "trainer", "world_size": ranks, "incarnation": 1}
    (path / "events.jsonl").write_text(json.dumps(start) + "\n")
    for rank in range(ranks):
        lines = []
        for window in range(windows):
            own_s: float | None = other.get((rank, window), other.get((rank, -1), 0.4 * dice.uniform(0.95, 1.05)))
            line = {"time": BEGAN + 10 * window, "rank": rank, "incarnation": 1, "step": 20 * (window + 1), "steps": 20}
            lines.append(json.dumps(line | {"step_s": 0.5, "own_s": own_s, "group": "10-1000", "host": f"node-{rank // 8}"}))
        (path / "ranks" / f"rank-{rank:04d}.jsonl").write_text("\n".join(lines) + "\n")
    return path


def told(path: Path, code: int) -> tuple[str, str]:
    found = check(call("ranks", path, code=code), "ranks.slow")
    return found["status"], found["summary"]


def test_the_slow_rank_is_named(tmp_path: Path) -> None:
    """With its node and by how much; so are two of them. The same run without it passes."""
    status, text = told(run_of(tmp_path / "one", 16, own={(11, -1): 0.7}), code=0)
    assert status == "warn" and "rank 11 on node-1 takes 1.7 x" in text, text
    status, text = told(run_of(tmp_path / "two", 16, own={(3, -1): 0.8, (12, -1): 0.6}), code=0)
    assert status == "warn" and "rank 3" in text and "rank 12" in text and "rank 4" not in text
    assert told(run_of(tmp_path / "none", 16), code=0)[0] == "pass"
    health = call("health", tmp_path / "one", code=1)
    assert check(health, "ranks.slow")["status"] == "warn"


@pytest.mark.parametrize("seed", range(3))
def test_no_claim_for_what_passes(tmp_path: Path, seed: int) -> None:
    """Rank 0 saves and evaluates in four windows of five, a start that compiles, a slowness too small to matter, half a group."""
    saves = {(0, window): 3.0 for window in (3, 4, 5, 6)}
    assert told(run_of(tmp_path / "saves", 8, own=saves, seed=seed), code=0)[0] == "pass"
    assert told(run_of(tmp_path / "start", 8, windows=6, own={(5, 0): 90.0}, seed=seed), code=0)[0] == "pass"
    small = {(rank, -1): 0.01 for rank in range(8)} | {(2, -1): 0.02}
    assert told(run_of(tmp_path / "small", 8, own=small, seed=seed), code=0)[0] == "pass"
    half = {(rank, -1): 0.9 for rank in range(5)}
    assert told(run_of(tmp_path / "half", 8, own=half, seed=seed), code=0)[0] == "pass"


def test_what_cannot_be_compared_is_unknown(tmp_path: Path) -> None:
    """Rank 0 alone, too few windows, a rank that fell silent, figures that are damaged; `health` has no opinion then."""
    alone = run_of(tmp_path / "alone", 8)
    for rank in range(1, 8):
        (alone / "ranks" / f"rank-{rank:04d}.jsonl").unlink()
    assert told(alone, code=1)[0] == "unknown"
    assert check(call("health", alone, code=1), "ranks.slow")["status"] == "skipped"
    assert told(run_of(tmp_path / "few", 8, windows=5), code=1)[0] == "unknown"
    silent = run_of(tmp_path / "silent", 8)
    (silent / "ranks" / "rank-0003.jsonl").write_text('{"time": 1, "step": "x"}\n\xff\n', encoding="latin-1")
    status, text = told(silent, code=1)
    assert status == "unknown" and "not ranks 3" in text, text
    assert told(run_of(tmp_path / "fsdp", 4, own={(rank, -1): None for rank in range(4)}), code=1)[0] == "unknown"  # type: ignore[misc]
    (tmp_path / "fsdp" / "ranks" / "rank-0000.jsonl").unlink()
    (tmp_path / "fsdp" / "ranks" / "rank-0000.jsonl").mkdir()
    assert told(tmp_path / "fsdp", code=1)[0] == "unknown"


def test_the_doctor_names_it_too(tmp_path: Path) -> None:
    """Of a run that goes on; one that has finished was slow and is well."""
    runner = {"format": 1, "name": "r", "run_id": "0" * 16, "state": "running"}
    path = run_of(tmp_path / "one", 16, own={(11, -1): 0.7})
    for state, expected in (("running", ("slow-rank", 11, "node-1")), ("finished", ("none", None, None))):
        (path / "runner.json").write_text(json.dumps({**runner, "state": state}))
        root = diagnose("doctor", path, code=0).data["root"]
        assert (root["cause"], root["rank"], root["node"]) == expected
    well = run_of(tmp_path / "well", 16)
    (well / "runner.json").write_text(json.dumps(runner))
    assert diagnose("doctor", well, code=0).data["root"]["cause"] == "none"
