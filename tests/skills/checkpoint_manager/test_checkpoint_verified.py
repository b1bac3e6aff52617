"""`list` says what was verified and when, and `not verified` as soon as it is not known; a step of another run is never the newest."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import FORMAT, RUN_ID, Answer, tree, write_lock, write_step, write_tiers
from many_calls import call_many

SHARD = FORMAT.shard_name(1, 2)


def flip(path: Path) -> None:
    """The last bit, with the file's own time of modification kept: as a disk would, or somebody who hides it."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def call(*words: str | Path) -> Answer:
    return call_many([words])[0]


def column(answer: Answer, name: str = "verified") -> dict[int, Any]:
    return {row["step"]: row[name] for row in answer.data["checkpoints"]}


def test_a_list_says_what_was_verified_until_something_changes(tmp_path: Path) -> None:
    for step in (100, 200, 300):
        write_step(tmp_path, step)
    flip(tmp_path / "step_00000300" / SHARD)
    before = tree(tmp_path)
    listed, verified = call_many([["list", tmp_path], ["verify", tmp_path, "--all"]])
    assert set(column(listed).values()) == {"not verified"} and column(listed, "problem")[300] is None
    assert (verified.code, verified.document["changed"], tree(tmp_path)) == (1, [], before), (
        "without --record nothing is written"
    )
    recorded, listed, good, bad = call_many(
        [
            ["verify", tmp_path, "--all", "--record"],
            ["list", tmp_path],
            ["show", tmp_path, "--step", "200"],
            ["show", tmp_path, "--step", "300"],
        ]
    )
    assert (recorded.code, recorded.document["changed"]) == (1, ["wrote verified.json"])
    told = column(listed)
    assert told[300].startswith("failed 20") and "xxh3_128 differs" in column(listed, "problem")[300]
    assert told[100].startswith("20") and told[100].endswith("+00:00 xxh3_128")
    assert (good.code, bad.code, good.data["verified"], bad.data["verified"]) == (0, 1, told[200], told[300])
    assert "xxh3_128 differs" in bad.checks("fail")["checkpoint.step_00000300"]
    flip(tmp_path / "step_00000200" / SHARD)
    (tmp_path / "step_00000100" / "notes.txt").write_text("a file more")
    listed = call("list", tmp_path)
    assert (column(listed)[200], column(listed)[100]) == ("not verified", "not verified")
    assert column(listed)[300].startswith("failed")
    call("verify", tmp_path, "--step", "200", "--record")
    listed = call("list", tmp_path)
    assert column(listed)[200].startswith("failed") and column(listed)[300].startswith("failed"), "one more, none forgotten"


@pytest.mark.parametrize(
    "content", [b"", b"[" * 100_000, b'{"format":1,"steps":[]}', b'{"format":1,"steps":{"step_00000100":{"status":"pass"}}}']
)
def test_a_record_that_nobody_wrote_verifies_nothing(tmp_path: Path, content: bytes) -> None:
    write_step(tmp_path, 100)
    (tmp_path / "verified.json").write_bytes(content)
    assert column(call("list", tmp_path)) == {100: "not verified"}
    call("verify", tmp_path, "--record")
    assert json.loads((tmp_path / "verified.json").read_text())["steps"]["step_00000100"]["status"] == "pass"


def test_a_record_is_only_of_bytes_and_the_verdict_stands_where_it_cannot_be_written(tmp_path: Path) -> None:
    write_step(tmp_path, 100)
    (tmp_path / "verified.json").mkdir()
    quick, unwritten = call_many([["verify", tmp_path, "--quick", "--record"], ["verify", tmp_path, "--record"]])
    assert (quick.code, quick.error) == (2, "usage")
    assert (unwritten.code, list(unwritten.checks("warn")), unwritten.document["changed"]) == (0, ["folder.verified"], [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000100", "verified.json"]


def test_a_step_of_another_run_is_skipped_named_and_kept_unless_its_number_is_given(tmp_path: Path) -> None:
    for step in (100, 200):
        write_step(tmp_path, step)
    write_step(tmp_path, 300, sealed_with={"run_id": "feedfeedfeedfeed"})
    write_lock(tmp_path, None)
    write_tiers(tmp_path)
    words = "of run 'feedfeedfeedfeed', and this folder is of run '" + RUN_ID
    latest, verified, by_number, listed, pruned = call_many(
        [
            ["latest", tmp_path],
            ["verify", tmp_path],
            ["verify", tmp_path, "--step", "300"],
            ["list", tmp_path],
            ["prune", tmp_path, "--keep-rolling", "1", "--keep-epochs", "0", "--damaged", "--yes"],
        ]
    )
    assert (latest.code, latest.data["step"]) == (0, 200) and words in latest.data["skipped"][0]["reason"]
    assert verified.code == 1 and words in verified.checks("fail")["checkpoint.step_00000300"]
    assert by_number.code == 0 and words in by_number.checks("warn")["checkpoint.run"]
    assert words in column(listed, "problem")[300] and listed.data["committed"] == 2
    assert (pruned.code, pruned.document["changed"][0]) == (0, "removed step_00000100")
    assert (tmp_path / "step_00000300" / "manifest.json").exists(), "not ours to remove"
