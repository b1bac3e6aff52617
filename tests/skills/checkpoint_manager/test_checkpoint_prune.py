"""Pruning keeps what the tiers keep, and never touches best, the newest that verifies, a live run's folder or foreign things."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from made_checkpoints import FORMAT, PROGRAM, RUN_ID, call, this_process, tree, wait_for, write_lock, write_step, write_tiers

SHARD = FORMAT.shard_name(0, 2)


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()}


def steps(root: Path) -> list[int]:
    return sorted(step for name in names(root) if (step := FORMAT.step_of(name)) is not None)


def damage(root: Path, step: int) -> None:
    """Bytes change, sizes do not."""
    path = root / FORMAT.step_name(step) / SHARD
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Eight steps: best 200, ends of epochs 300 and 600, the rest rolling; the run has closed."""
    root = tmp_path / "checkpoints"
    for step in range(100, 900, 100):
        write_step(root, step, end_of_epoch=step in (300, 600), val_loss={200: 1.5, 300: 2.0, 600: 1.5}.get(step))
    write_lock(root, None)
    return root


def test_the_tiers_stay_and_the_rest_goes(run: Path) -> None:
    answer = call("prune", run, "--keep-rolling", "2", "--keep-epochs", "1", "--yes")
    assert answer.code == 0
    assert steps(run) == [200, 600, 700, 800]
    assert answer.document["changed"][:4] == [f"removed step_00000{step}" for step in (100, 300, 400, 500)]
    tiers = json.loads((run / "tiers.json").read_bytes())
    assert tiers == {"format": 1, "latest": 800, "rolling": [700, 800], "epoch": [600], "best": 200}
    assert call("verify", run, "--all").code == 0


def test_the_same_call_again_changes_nothing(run: Path) -> None:
    words = ["prune", run, "--keep-rolling", "2", "--keep-epochs", "1", "--yes"]
    call(*words)
    before = tree(run)
    assert (call(*words).document["changed"], tree(run)) == ([], before)


def test_without_numbers_the_steps_in_tiers_json_stay(run: Path) -> None:
    """And a step committed after that file was written, by a run that died in between."""
    write_tiers(run, keep_rolling=3, keep_epochs=1)
    write_step(run, 900)
    assert call("prune", run, "--yes").code == 0
    assert steps(run) == [200, 600, 700, 800, 900]


def test_without_yes_the_plan_is_the_answer(run: Path) -> None:
    before = tree(run)
    answer = call("prune", run, "--keep-rolling", "2", "--keep-epochs", "1")
    assert (answer.code, answer.error) == (6, "confirm")
    assert [row["name"] for row in answer.data["remove"]] == [f"step_00000{step}" for step in (500, 400, 300, 100)]
    dry = call("prune", run, "--keep-rolling", "2", "--keep-epochs", "1", "--dry-run")
    assert (dry.code, dry.data) == (0, answer.data)
    assert tree(run) == before


def test_the_newest_that_verifies_stays_when_newer_ones_are_damaged(run: Path) -> None:
    for step in (700, 800):
        damage(run, step)
    answer = call("prune", run, "--keep-rolling", "0", "--keep-epochs", "0", "--yes")
    assert answer.code == 0
    assert steps(run) == [200, 600, 700, 800]
    assert {row["name"]: row["why"] for row in answer.data["keep"]}["step_00000600"] == "newest verified"


def test_damaged_steps_go_only_when_asked_and_best_never(run: Path) -> None:
    write_tiers(run)
    for step in (200, 400, 800):
        damage(run, step)
    call("prune", run, "--keep-rolling", "9", "--keep-epochs", "9", "--yes")
    assert {400, 800} <= set(steps(run))
    answer = call("prune", run, "--keep-rolling", "9", "--keep-epochs", "9", "--damaged", "--yes")
    assert answer.code == 0
    assert steps(run) == [100, 200, 300, 500, 600, 700]
    assert (run / "latest").read_text() == "step_00000700\n"
    tiers = json.loads((run / "tiers.json").read_bytes())
    assert tiers == {"format": 1, "latest": 700, "rolling": [100, 200, 300, 500, 600, 700], "epoch": [300, 600], "best": 200}
    before = tree(run)
    again = call("prune", run, "--keep-rolling", "9", "--keep-epochs", "9", "--damaged", "--yes")
    assert (again.document["changed"], tree(run)) == ([], before)


def test_a_best_whose_manifest_is_damaged_stays_best(run: Path) -> None:
    write_tiers(run)
    (run / "step_00000200" / "manifest.json").write_bytes(b"")
    answer = call("prune", run, "--keep-rolling", "1", "--keep-epochs", "0", "--damaged", "--yes")
    assert (answer.code, steps(run)) == (0, [200, 800])
    assert json.loads((run / "tiers.json").read_bytes())["best"] == 200


def test_nothing_is_removed_when_nothing_verifies(run: Path) -> None:
    for step in steps(run):
        damage(run, step)
    (run / "step_00000900.e1.tmp").mkdir()
    before = tree(run)
    answer = call("prune", run, "--keep-rolling", "0", "--keep-epochs", "0", "--damaged", "--temporary", "--aside", "--yes")
    assert (answer.code, list(answer.checks("fail"))[-1]) == (1, "prune.intact")
    assert tree(run) == before


def test_temporary_and_aside_folders_go_only_when_asked(run: Path) -> None:
    write_step(run, 400, name="step_00000400.aside-e3")
    for name in ("step_00000900.e2.tmp", "step_00000050.removed.tmp"):
        (run / name).mkdir()
        (run / name / "part").write_bytes(b"half")
    others = {"step_00000400.aside-e3", "step_00000900.e2.tmp", "step_00000050.removed.tmp"}
    call("prune", run, "--keep-rolling", "9", "--keep-epochs", "9", "--yes")
    assert others <= names(run)
    call("prune", run, "--aside", "--yes")
    assert others & names(run) == {"step_00000900.e2.tmp", "step_00000050.removed.tmp"}
    call("prune", run, "--temporary", "--yes")
    assert not others & names(run)
    assert len(steps(run)) == 8


def test_what_is_not_ours_stays(run: Path, tmp_path: Path) -> None:
    """Foreign names, a foreign folder of a step's name, a step that holds somebody's file, links, a newer format."""
    for name in ("best", "tensorboard", "hf_export", "step_00000010", "step_5"):
        (run / name).mkdir()
        (run / name / "theirs.txt").write_text(name)
    (run / "step_00000100" / "notes.txt").write_text("mine")
    (run / "step_00000400" / "eval").mkdir()
    outside = write_step(tmp_path / "outside", 20)
    (run / "step_00000020").symlink_to(outside)
    (run / "step_00000021.e1.tmp").symlink_to(outside)
    write_step(run, 30, sealed_with={"version": 2})
    before = tree(run) | tree(outside)
    answer = call("prune", run, "--keep-rolling", "1", "--keep-epochs", "0", "--damaged", "--temporary", "--aside", "--yes")
    assert answer.code == 0
    gone = {name.partition("/")[0] for name in before.keys() - (tree(run) | tree(outside)).keys()} - {"tiers.json"}
    assert gone == {f"step_00000{step}" for step in (300, 500, 600, 700)}
    assert outside.is_dir() and (run / "step_00000020").is_symlink()


def test_the_plan_says_why_each_thing_stays_and_what_would_free_space(run: Path) -> None:
    write_tiers(run, keep_rolling=3, keep_epochs=2)
    write_step(run, 400, name="step_00000400.aside-e3")
    (run / "step_00000900.e1.tmp").mkdir()
    (run / "notes.txt").write_text("mine")
    (run / "step_00000700" / SHARD).write_bytes(b"cut short")
    answer = call("prune", run, "--dry-run")
    why = {row["name"]: row["why"] for row in answer.data["keep"]}
    assert why["step_00000200"] == "best (validation loss 1.5)" and why["step_00000300"] == "epoch (the end of epoch 3)"
    assert (
        why["step_00000800"].startswith("latest, rolling (one of the newest") and why["notes.txt"] == "not written by trainyard"
    )
    free = {row["option"]: row for row in answer.data["would_free"]}
    assert {option: row["folders"] for option, row in free.items()} == {
        "--aside": 1,
        "--temporary": 1,
        "--damaged": 1,
        "--keep-epochs 1": 1,
    }
    assert free["--aside"]["frees_bytes"] > 1000
    before = len(list(run.iterdir()))
    freed = call("prune", run, "--aside", "--temporary", "--keep-epochs", "1", "--yes")
    assert freed.code == 0 and {row["option"] for row in freed.data["would_free"]} == {"--damaged"}
    assert before - len(list(run.iterdir())) == answer.data["total_remove"] + 3


def test_a_temporary_folder_is_somebodys(run: Path) -> None:
    """Of the incarnation that holds the lock, of one before it, of one that the lock does not know, of a removal."""
    for name in ("step_00000900.e2.tmp", "step_00000901.e1.tmp", "step_00000902.e7.tmp", "step_00000050.removed.tmp"):
        (run / name).mkdir()

    def told() -> dict[str, str]:
        rows = call("prune", run, "--dry-run").data["keep"]
        return {row["name"][:13]: row["why"] for row in rows if row["name"].endswith(".tmp")}

    write_lock(run, this_process(), incarnation=2)
    live = told()
    assert f"being written by run {RUN_ID}, incarnation 2; process {os.getpid()} lives" in live["step_00000900"]
    write_lock(run, this_process() | {"start_time": 1}, incarnation=2)
    dead = told()
    assert (
        f"left by a save of run {RUN_ID}, incarnation 2; process {os.getpid()} is gone; --temporary removes it"
        == dead["step_00000900"]
    )
    assert "incarnation 1, which is dead: incarnation 2 followed it" in dead["step_00000901"]
    assert "incarnation 7, later than the lock's 2" in dead["step_00000902"]
    assert dead["step_00000050"].startswith(f"left by a removal of run {RUN_ID}; process")
    write_lock(run, this_process() | {"host": "elsewhere"}, incarnation=2)
    assert "on elsewhere still runs" in told()["step_00000900"]
    (run / "lock.json").unlink()
    assert "a run that no lock.json names" in told()["step_00000900"]


def test_a_best_that_is_not_the_least_loss_is_a_warning(run: Path) -> None:
    tiers = write_tiers(run)
    assert "prune.best" not in call("prune", run, "--dry-run").checks("warn"), "control: 200 has the least"
    (run / "tiers.json").write_bytes(FORMAT.canonical(tiers | {"best": 300}))
    answer = call("prune", run, "--dry-run")
    assert answer.code == 0, "a warning"
    assert (
        "best is step 300" in answer.checks("warn")["prune.best"]
        and "step 200 has the least, 1.5" in answer.checks("warn")["prune.best"]
    )
    (run / "tiers.json").write_bytes(FORMAT.canonical(tiers | {"best": 400}))
    assert "has no validation loss" in call("prune", run, "--dry-run").checks("warn")["prune.best"]


@pytest.mark.parametrize("where", ["lock.json", "runner.json"])
def test_a_live_runs_folder_is_refused(run: Path, where: str) -> None:
    if where == "lock.json":
        write_lock(run, this_process())
    else:
        (run.parent / "runner.json").write_text(json.dumps({"run_id": "abc", "supervisor": this_process()}))
    (run / "step_00000900.e1.tmp").mkdir()
    before = tree(run)
    answer = call("prune", run, "--keep-rolling", "1", "--temporary", "--yes")
    assert (answer.code, answer.error) == (5, "conflict")
    assert str(os.getpid()) in answer.document["error"]["message"]
    dry = call("prune", run, "--keep-rolling", "1", "--temporary", "--dry-run")
    assert dry.code == 0
    assert "lives" in {row["name"]: row["why"] for row in dry.data["keep"]}["step_00000900.e1.tmp"]
    assert tree(run) == before


@pytest.mark.parametrize("change", [{"start_time": 1}, {"boot_id": "another boot"}, {"pid": 2**22 + 5}])
def test_a_dead_holder_does_not_hold(run: Path, change: dict[str, object]) -> None:
    """A reused pid, a rebooted host, no such process."""
    write_lock(run, this_process() | change)
    assert call("prune", run, "--keep-rolling", "1", "--yes").code == 0


def test_a_holder_on_another_host_is_not_guessed_about(run: Path) -> None:
    write_lock(run, this_process() | {"host": "some-other-host"})
    assert call("prune", run, "--keep-rolling", "1", "--yes").code == 5
    assert call("prune", run, "--keep-rolling", "1", "--yes", "--holder-gone").code == 0
    write_lock(run, this_process())
    assert call("prune", run, "--keep-rolling", "1", "--yes", "--holder-gone").code == 5


@pytest.mark.parametrize("text", ["", "{}", "[1]", "{", '{"format":1,"run_id":"x","incarnation":"y"}', "[" * 200_000])
def test_a_lock_that_cannot_be_read_is_refused(run: Path, text: str) -> None:
    (run / "lock.json").write_text(text)
    answer = call("prune", run, "--keep-rolling", "1", "--yes")
    assert (answer.code, "cannot be read" in answer.document["error"]["message"]) == (5, True)


def test_a_linked_folder_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    before = tree(run)
    answer = call("prune", tmp_path / "link", "--keep-rolling", "1", "--yes")
    assert (answer.code, str(run) in answer.document["error"]["hint"]) == (5, True)
    assert tree(run) == before
    assert call("verify", tmp_path / "link", "--all").code == 0


def pruned_and_stopped_midway(root: Path) -> subprocess.Popen[str]:
    """A prune of two of three steps, stopped (SIGSTOP) while it deletes the files of the first."""
    many = {f"extra-{number:04d}.bin": b"x" for number in range(1500)}
    for step in (100, 200, 300):
        write_step(root, step, extra_files=many if step < 300 else None)
    write_lock(root, None)
    words = [sys.executable, str(PROGRAM), "prune", str(root), "--keep-rolling", "1", "--yes"]
    pruning = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    wait_for(lambda: (root / "step_00000100.removed.tmp").exists() or pruning.poll() is not None)
    pruning.send_signal(signal.SIGSTOP)
    return pruning


def test_a_kill_in_mid_removal_leaves_no_half_checkpoint(tmp_path: Path) -> None:
    """SIGKILL while files are being deleted: every step's folder is whole; the next call finishes the work."""
    for attempt in range(10):  # the stop may come a moment too late to prove anything
        root = tmp_path / str(attempt)
        pruning = pruned_and_stopped_midway(root)
        pruning.kill()
        pruning.communicate(timeout=30)
        if left := list(root.glob("*.removed.tmp")):
            break
    assert left, "no kill came in time"
    assert call("verify", root, "--all").code == 0
    assert call("prune", root, "--keep-rolling", "1", "--temporary", "--yes").code == 0
    assert names(root) == {"step_00000300", "tiers.json", "lock.json"}


def test_a_removal_that_was_killed_before_does_not_block_the_next(run: Path) -> None:
    leftover = run / "step_00000100.removed.tmp"
    leftover.mkdir()
    (leftover / "shard").write_bytes(b"half")
    assert call("prune", run, "--keep-rolling", "2", "--keep-epochs", "1", "--yes").code == 0
    assert not leftover.exists()


def test_a_run_that_starts_meanwhile_stops_the_removal(tmp_path: Path) -> None:
    for attempt in range(10):
        root = tmp_path / str(attempt)
        pruning = pruned_and_stopped_midway(root)
        before, midway = steps(root), (root / "step_00000100.removed.tmp").exists()
        write_lock(root, this_process(), incarnation=2)
        pruning.send_signal(signal.SIGCONT)
        document = json.loads(pruning.communicate(timeout=60)[0])
        if midway:  # else the stop came when all was done
            break
    assert (pruning.returncode, document["error"]["code"]) == (5, "conflict")
    assert steps(root) == before == [200, 300]
    assert document["data"]["changed"] == ["removed step_00000100"]
    assert not (root / "tiers.json").exists()
