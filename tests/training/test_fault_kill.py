"""SIGKILL at every point of a save and of a start: the next start has the older step or the newer one, exactly."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
from pathlib import Path

import pytest
from trainyard import checkpoint_format as fmt

from tests.training.rt_folder import flip
from tests.training.rt_zygote import Ended, Zygote

pytest_plugins = ["tests.training.rt_fixtures"]

POLICY = {"rolling_steps": 2, "keep_rolling": 1}
MOST_CALLS = 200


def phase(ended: Ended) -> str:
    match = re.search("killed before (.*)", ended.stderr)
    assert match, f"ended by a signal, and not by ours:\n{ended.stderr}"
    return match[1]


def intact_steps(root: Path) -> list[int]:
    """Committed steps of which every byte verifies."""
    found = []
    for entry in fmt.scan(root):
        with contextlib.suppress(fmt.DamagedError):
            found += [fmt.verify_folder(root / entry.name)["step"]] if entry.kind == "step" else []
    return found


def assert_goes_on_exactly(zygote: Zygote, run_dir: Path, reference: dict[int, str], where: str) -> int:
    """The next start restores a committed step bit for bit, ends as the uninterrupted run does, and leaves no rubbish."""
    root = run_dir / "checkpoints"
    newest = max(intact_steps(root), default=0)
    ended = zygote.run(run_dir, steps=6, policy=POLICY)
    assert ended.code == 0, f"{where}: {ended.stderr}"
    step, digest = ended.restored
    assert (step, digest) == (newest, reference[newest]), where
    assert ended.digests[6] == reference[6], where
    entries = fmt.scan(root)
    assert not [entry for entry in entries if entry.kind in ("temporary", "unknown")], where
    assert [entry.step for entry in entries if entry.kind == "step"] == [6], where
    fmt.verify_folder(root / fmt.step_name(6))
    return step


def test_sigkill_before_every_call_of_a_save(zygote: Zygote, reference: dict[int, str], memory_path: Path) -> None:
    """The save of step 4 also removes step 2, which no tier names any more."""
    base = memory_path / "base"
    options = {"steps": 5, "policy": POLICY, "wait_after": [2, 4]}
    assert zygote.run(base, **options, after={3: [["exit", 9]]}).code == 9
    hits, restored = [], []
    for nth in range(1, MOST_CALLS):
        run_dir = Path(shutil.copytree(base, memory_path / f"{nth}"))
        kill = {"at": 4, "thread": "trainyard-writer", "nth": nth}
        ended = zygote.run(run_dir, **options, kill=kill, after={4: [["exit", 9]]})
        if ended.code == 9:  # the save ended before its n-th call
            break
        assert ended.code == -9, ended.stderr
        hits.append(phase(ended))
        there = [entry.step for entry in fmt.scan(run_dir / "checkpoints") if entry.kind == "step"]
        assert there and intact_steps(run_dir / "checkpoints") == there, f"{hits[-1]}: torn under a committed name"
        restored.append(assert_goes_on_exactly(zygote, run_dir, reference, hits[-1]))
        shutil.rmtree(run_dir)
    assert ended.code == 9
    assert restored == sorted(restored), "once the newer step is there it stays"
    assert set(restored) == {2, 4}
    expected = [
        "_write_all",
        "write_shard",
        "write_durably",
        "commit",
        "_rename_into_place",
        "write_atomically",
        "fsync_folder",
    ]
    assert {hit.rpartition(" ")[2] for hit in hits} >= {*expected, "remove_folder", "_append"}, hits


def test_sigkill_before_every_call_of_a_start_that_steps_down_and_cleans_up(
    zygote: Zygote, reference: dict[int, str], saved: Path, memory_path: Path
) -> None:
    base = Path(shutil.copytree(saved, memory_path / "base"))
    root = base / "checkpoints"
    flip(root / "step_00000004" / "state.json", 100)
    shutil.copytree(root / "step_00000002", root / "step_00000006.e1.tmp")
    hits = []
    for nth in range(1, MOST_CALLS):
        run_dir = Path(shutil.copytree(base, memory_path / f"{nth}"))
        ended = zygote.run(run_dir, steps=0, close=False, kill={"at": "start", "nth": nth})
        if ended.code == 0:
            break
        assert ended.code == -9, ended.stderr
        hits.append(phase(ended))
        assert assert_goes_on_exactly(zygote, run_dir, reference, hits[-1]) == 2
        shutil.rmtree(run_dir)
    assert ended.code == 0 and ended.restored == (2, reference[2])
    assert {hit.rpartition(" ")[2] for hit in hits} >= {"write_atomically", "write_durably", "_remove_tree", "set_aside"}, hits


@pytest.mark.parametrize("nth", [1, 5])
def test_sigkill_while_the_snapshot_is_copied(
    zygote: Zygote, reference: dict[int, str], saved: Path, memory_path: Path, nth: int
) -> None:
    run_dir = Path(shutil.copytree(saved, memory_path / "run"))
    ended = zygote.run(
        run_dir, steps=8, policy=POLICY, kill={"at": 6, "thread": "MainThread", "nth": nth, "calls": ["popleft"]}
    )
    assert (ended.code, phase(ended)) == (-9, "popleft in _drain")
    assert assert_goes_on_exactly(zygote, run_dir, reference, "copy") == 4


def test_a_run_killed_again_and_again_ends_as_the_uninterrupted_one(
    zygote: Zygote, reference: dict[int, str], memory_path: Path
) -> None:
    kills = 0
    for nth in itertools.count(1, 9):
        kill = {"at": 4, "thread": "trainyard-writer", "nth": nth}
        ended = zygote.run(memory_path / "run", steps=8, policy=POLICY, wait_after=[2, 4, 6, 8], kill=kill)
        if ended.code == 0:
            break
        assert ended.code == -9 and nth < MOST_CALLS, ended.stderr
        kills += 1
    assert kills >= 3 and ended.digests[8] == reference[8]
