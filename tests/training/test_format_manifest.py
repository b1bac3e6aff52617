"""manifest.json seals every byte of a step; tiers.json is rebuilt from manifests; retention removes what no tier names, only that."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from trainyard import checkpoint_format as fmt
from trainyard.commit import apply_retention, clean_temporary, commit, set_aside, wait_for_parts
from trainyard.errors import SaveError
from trainyard.layout import whole
from trainyard.lock import Lock
from trainyard.store import Rejected

from tests.training.rt_folder import (
    copy_of,
    files_under,
    flip,
    info,
    save,
    save_tensors,
    shared_state,
    take_lock,
    write_parts,
)

TENSORS = {"w": torch.ones(3)}


def test_every_single_bit_of_a_manifest_is_covered(tmp_path: Path) -> None:
    folder = save_tensors(take_lock(tmp_path), 1, TENSORS)
    manifest = folder / "manifest.json"
    before = fmt.verify_folder(folder)
    for bit in range(8 * manifest.stat().st_size):
        flip(manifest, bit)
        with pytest.raises(fmt.DamagedError):
            fmt.read_manifest(folder)
        flip(manifest, bit)
    assert fmt.verify_folder(folder) == before


def test_a_manifest_cut_anywhere_or_empty_is_damaged(tmp_path: Path) -> None:
    folder = save_tensors(take_lock(tmp_path), 1, TENSORS)
    text = (folder / "manifest.json").read_bytes()
    for size in range(len(text)):
        (folder / "manifest.json").write_bytes(text[:size])
        with pytest.raises(fmt.DamagedError):
            fmt.read_manifest(folder)


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: text + b"\n",
        lambda text: b" " + text,
        lambda text: json.dumps(json.loads(text)).encode(),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")).encode(),
        lambda text: text.replace(b'"step":1', b'"step":1.0'),
        lambda text: text.replace(b'"step":1,', b'"step":1,"step":1,'),
    ],
)
def test_the_same_content_in_another_spelling_is_refused(tmp_path: Path, rewrite: Any) -> None:
    """Else a byte could change without anybody noticing."""
    folder = save_tensors(take_lock(tmp_path), 1, TENSORS)
    text = (folder / "manifest.json").read_bytes()
    assert rewrite(text) != text
    (folder / "manifest.json").write_bytes(rewrite(text))
    with pytest.raises(fmt.DamagedError, match="digest"):
        fmt.read_manifest(folder)


def test_the_manifest_says_what_the_documentation_lists(tmp_path: Path) -> None:
    folder = save_tensors(
        take_lock(tmp_path), 400, TENSORS, epoch=2, end_of_epoch=True, val_loss=1.5, reasons=("rolling", "epoch")
    )
    shown = next(line for line in _document("checkpoints.md").split("```json\n")[1:])
    keys = set(json.loads(shown.partition("```")[0]))
    manifest = fmt.read_manifest(folder)
    assert set(manifest) == keys
    expected = {
        "step": 400,
        "epoch": 2,
        "end_of_epoch": True,
        "val_loss": 1.5,
        "reasons": ["epoch", "rolling"],
        "world_size": 1,
    }
    assert {key: manifest[key] for key in expected} == expected
    assert manifest["tensors"] == {"w": {"dtype": "F32", "shape": [3]}}


def _document(name: str) -> str:
    return (Path(__file__).parents[2] / "shared-docs" / name).read_text()


# --- commit ------------------------------------------------------------------------------------------------------


def test_a_commit_leaves_no_part_behind_and_the_tidying_points_latest_to_it(tmp_path: Path) -> None:
    folder = save(take_lock(tmp_path), 7, [[whole("a", torch.ones(2))], [whole("b", torch.ones(2))]])
    names = {path.name for path in folder.iterdir()}
    assert names == {"manifest.json", "state.json", fmt.shard_name(0, 2), fmt.shard_name(1, 2)}
    apply_retention(tmp_path, newest=7, keep_rolling=1, keep_epochs=0)
    assert (tmp_path / "latest").read_text() == "step_00000007\n"
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_a_snapshot_that_is_not_finite_is_rejected_and_its_tensors_named(
    tmp_path: Path, bad: float, dtype: torch.dtype
) -> None:
    lock = take_lock(tmp_path)
    tensors = {"good": torch.ones(2), "bad": torch.tensor([1.0, bad]).to(dtype), "moment": torch.tensor(bad)}
    pieces = [whole(key, tensor) for key, tensor in tensors.items()]
    folder = write_parts(lock, 1, [pieces], parameters=["good", "bad"])
    parts = wait_for_parts(folder, 1, lock.incarnation, timeout_s=1)
    with pytest.raises(Rejected) as rejection:
        commit(folder, parts, {}, info(1), lock)
    assert rejection.value.tensors == ["bad"]
    assert not (tmp_path / "step_00000001").exists()


def test_a_part_of_another_incarnation_is_not_waited_for_as_ours(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    folder = write_parts(lock, 1, [[whole("a", torch.ones(1))]])
    assert wait_for_parts(folder, 1, lock.incarnation, timeout_s=0)
    with pytest.raises(SaveError, match="no part from rank 0 after 0 s"):
        wait_for_parts(folder, 1, lock.incarnation + 1, timeout_s=0, sleep=lambda _: None)


def test_the_ranks_whose_parts_never_came_are_named_at_the_deadline(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    folder = write_parts(lock, 1, [[whole("a", torch.ones(1))]])
    now = iter(range(100))
    with pytest.raises(SaveError, match="no part from rank 1, 2 after 5 s"):
        wait_for_parts(folder, 3, lock.incarnation, timeout_s=5, clock=lambda: next(now), sleep=lambda _: None)


def test_a_writer_whose_run_was_taken_over_does_not_commit(tmp_path: Path) -> None:
    older = take_lock(tmp_path)
    folder = write_parts(older, 1, [[whole("a", torch.ones(1))]])
    newer = Lock(tmp_path, older.run_id, older.incarnation + 1, None)
    (tmp_path / "lock.json").write_text(
        json.dumps({"format": 1, "run_id": newer.run_id, "incarnation": newer.incarnation, "holder": None, "origin": None})
    )
    with pytest.raises(SaveError, match="another start of this run has taken"):
        commit(folder, wait_for_parts(folder, 1, older.incarnation, timeout_s=1), shared_state(1), info(1), older)
    assert fmt.committed(fmt.scan(tmp_path)) == []


def test_two_starts_that_took_the_lock_at_the_same_moment_are_not_both_its_holder(tmp_path: Path) -> None:
    """Both read the same incarnation and wrote the next one: only the later writer of the file may go on."""
    ours = take_lock(tmp_path)
    assert ours.still_held()
    content = json.loads((tmp_path / "lock.json").read_text())
    content["holder"]["pid"] += 1
    (tmp_path / "lock.json").write_text(json.dumps(content))
    assert not ours.still_held()


def test_a_foreign_folder_of_the_same_name_is_kept_under_another_one(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    for _ in range(3):
        (tmp_path / "step_00000010").mkdir()
        (tmp_path / "step_00000010" / "thesis.txt").write_text("mine")
        assert fmt.verify_folder(save_tensors(lock, 10, TENSORS))["step"] == 10
        set_aside(tmp_path / "step_00000010", 9)
    kept = sorted(name for name, content in files_under(tmp_path) if content == b"mine")
    assert kept == [
        "step_00000010.aside-e1-1/thesis.txt",
        "step_00000010.aside-e1-2/thesis.txt",
        "step_00000010.aside-e1/thesis.txt",
    ]


# --- tiers and retention -----------------------------------------------------------------------------------------


def naive_tiers(manifests: list[dict[str, Any]], keep_rolling: int, keep_epochs: int) -> dict[str, Any]:
    """The rule of checkpoints.md, told in another way: newest first, take while there is room."""
    tiers: dict[str, Any] = {"format": 1, "latest": None, "rolling": [], "epoch": [], "best": None}
    least = None
    for manifest in sorted(manifests, key=lambda m: -m["step"]):
        step, loss = manifest["step"], manifest["val_loss"]
        tiers["latest"] = step if tiers["latest"] is None else tiers["latest"]
        if (
            any(reason in manifest["reasons"] for reason in ("rolling", "stop", "final"))
            and len(tiers["rolling"]) < keep_rolling
        ):
            tiers["rolling"].insert(0, step)
        if manifest["end_of_epoch"] and len(tiers["epoch"]) < keep_epochs:
            tiers["epoch"].insert(0, step)
        if "final" in manifest["reasons"] and len(tiers.setdefault("final", [])) < 2:
            tiers["final"].insert(0, step)
        if loss is not None and (least is None or loss <= least):  # of equals the older one
            least, tiers["best"] = loss, step
    return tiers


def random_manifest(dice: random.Random, step: int) -> dict[str, Any]:
    words = ["rolling", "stop", "final", "epoch", "best"]
    return {
        "step": step,
        "reasons": dice.sample(words, dice.randint(1, 3)),
        "end_of_epoch": dice.random() < 0.4,
        "val_loss": dice.choice([None, 1.0, 2.0, dice.random(), dice.random()]),
    }


@pytest.mark.parametrize("seed", range(100))
def test_tiers_follow_the_rule(seed: int) -> None:
    dice = random.Random(seed)
    manifests = [random_manifest(dice, step) for step in dice.sample(range(50), dice.randint(0, 12))]
    keep_rolling, keep_epochs = dice.randint(1, 5), dice.randint(0, 4)
    found = fmt.rebuild_tiers(manifests, keep_rolling=keep_rolling, keep_epochs=keep_epochs)
    assert found == naive_tiers(manifests, keep_rolling, keep_epochs)


@pytest.mark.parametrize("seed", range(8))
def test_retention_keeps_named_damaged_and_foreign_ones_and_removes_the_rest(tmp_path: Path, seed: int) -> None:
    dice, lock = random.Random(seed), take_lock(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "best").mkdir()
    (tmp_path / "step_00000001.aside-e1").mkdir()
    manifests = {}
    for step in range(2, 14):
        fields = random_manifest(dice, step)
        save_tensors(lock, **fields | {"tensors": TENSORS, "reasons": tuple(fields["reasons"])})
        manifests[step] = fields
    damaged = dice.sample(sorted(manifests), 3)
    for step in damaged:
        flip(tmp_path / fmt.step_name(step) / "manifest.json", 800)
    before = dict(files_under(tmp_path))
    removed, problems = apply_retention(tmp_path, newest=13, keep_rolling=2, keep_epochs=1)
    assert problems == {}
    tiers = naive_tiers([m for step, m in manifests.items() if step not in damaged], 2, 1)
    assert json.loads((tmp_path / "tiers.json").read_text()) == tiers == fmt.read_tiers(tmp_path)
    kept = {tiers["latest"], tiers["best"], *tiers["rolling"], *tiers["epoch"], *tiers.get("final", [])}
    assert removed == sorted(set(manifests) - set(damaged) - kept)
    gone = {name.split("/")[0] for name in before.keys() - dict(files_under(tmp_path)).keys()}
    assert gone == {fmt.step_name(step) for step in removed}
    assert (tmp_path / "best").is_dir() and (tmp_path / "step_00000001.aside-e1").is_dir()


def test_at_the_start_only_our_own_leftovers_are_removed(tmp_path: Path) -> None:
    lock = take_lock(tmp_path)
    folder = save_tensors(lock, 2, TENSORS)
    mine = [
        "step_00000004.e1.tmp/x",
        "step_00000001.removed.tmp/x",
        ".latest.0123abcd",
        ".lock.json.0123abcd",
        ".tiers.json.ffffffff",
    ]
    foreign = ["step_4.tmp/x", "other.tmp/x", ".lock.mybackup", ".latest", ".git/config", "tmp/x", ".tiers.json.backup"]
    for name in mine + foreign:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    clean_temporary(tmp_path)
    left = {name for name, _ in files_under(tmp_path)}
    assert set(foreign) <= left and not set(mine) & left
    assert fmt.verify_folder(folder)


def test_a_committed_step_is_the_same_whoever_copies_it(tmp_path: Path) -> None:
    folder = save_tensors(take_lock(tmp_path / "a"), 2, TENSORS)
    assert fmt.verify_folder(copy_of(folder, tmp_path / "step_00000002")) == fmt.verify_folder(folder)
