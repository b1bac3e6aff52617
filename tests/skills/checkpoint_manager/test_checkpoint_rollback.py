"""A run sent back to an older checkpoint: the newer ones are set aside whole, and nothing is moved for a step that cannot be restored."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_checkpoints import FORMAT, call, this_process, tree, write_lock, write_step, write_tiers

SHARD = FORMAT.shard_name(0, 2)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Steps 100 to 400 of a run that has closed."""
    root = tmp_path / "checkpoints"
    for step in range(100, 500, 100):
        write_step(root, step)
    write_lock(root, None)
    write_tiers(root, keep_rolling=4, keep_epochs=1)
    return root


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def damage(root: Path, step: int) -> None:
    path = root / FORMAT.step_name(step) / SHARD
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_newer_steps_are_set_aside_whole_and_the_chosen_one_is_the_newest(run: Path) -> None:
    before = {name: tree(run / name) for name in names(run)}
    asked = call("rollback", run, 200)
    assert (asked.code, asked.data["set_aside"]) == (6, ["step_00000400", "step_00000300"])
    assert call("rollback", run, 200, "--dry-run").code == 0 and names(run) == sorted(before)
    done = call("rollback", run, 200, "--yes")
    assert done.code == 0 and len(done.document["changed"]) == 3, done.document
    assert call("latest", run).data["step"] == 200
    assert (run / "latest").read_text() == "step_00000200\n"
    aside = {name.partition(".")[0]: name for name in names(run) if "." in name}
    assert sorted(aside) == ["step_00000300", "step_00000400"]
    assert all(tree(run / aside[name]) == before[name] for name in aside)
    assert call("verify", run, "--all").code == 0, "those that are aside verify as before"
    again = call("rollback", run, 200, "--yes")
    assert (again.code, again.document["changed"]) == (0, [])


def test_a_step_saved_and_set_aside_twice_has_two_names(run: Path) -> None:
    for copies in (1, 2):
        assert call("rollback", run, 300, "--yes").code == 0
        assert sum(name.startswith("step_00000400.") for name in names(run)) == copies
        write_step(run, 400)


def test_a_damaged_newer_step_goes_out_of_the_way_too(run: Path) -> None:
    damage(run, 400)
    (run / "step_00000300" / "manifest.json").write_bytes(b"{")
    assert call("rollback", run, 200, "--yes").code == 0
    assert [name for name in names(run) if "." not in name] == ["step_00000100", "step_00000200"]


@pytest.mark.parametrize("what", ["damaged", "of another run", "not there", "in use", "elsewhere"])
def test_nothing_is_moved_where_it_would_not_help_or_is_not_ours(run: Path, what: str) -> None:
    step = 150 if what == "not there" else 200
    if what == "damaged":
        damage(run, 200)
    elif what == "of another run":
        write_step(run, 250, sealed_with={"run_id": "fedcba9876543210"})
        step = 250
    elif what in ("in use", "elsewhere"):
        write_lock(run, this_process() | ({"host": "another-machine"} if what == "elsewhere" else {}))
    before = tree(run)
    refused = call("rollback", run, step, "--yes")
    assert refused.code == (3 if what == "not there" else 5), refused.document
    assert tree(run) == before
    if what == "elsewhere":
        assert call("rollback", run, step, "--yes", "--holder-gone").code == 0
