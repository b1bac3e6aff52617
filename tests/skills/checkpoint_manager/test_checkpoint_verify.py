"""Every kind of damage is found, named, and stepped over; sizes alone are never a pass."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_checkpoints import FORMAT, PROGRAM, call, write_step, write_tiers

SHARD = FORMAT.shard_name(0, 2)
PAGE = 4096
Hashing = tuple[str, dict[str, str]]


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def test_an_intact_checkpoint_passes_with_the_algorithm_named(tmp_path: Path, hashing: Hashing) -> None:
    algorithm, env = hashing
    write_step(tmp_path, 400)
    answer = call("verify", tmp_path, env=env)
    assert answer.code == 0
    assert answer.data["checkpoints"][0]["algorithm"] == algorithm
    assert algorithm in answer.checks("pass")["checkpoint.step_00000400"]


def test_sizes_alone_are_unknown_and_exit_1(tmp_path: Path) -> None:
    write_step(tmp_path, 400)
    for verb in ("verify", "latest"):
        answer = call(verb, tmp_path, "--quick")
        assert (answer.code, list(answer.checks("unknown"))) == (1, ["checkpoint.step_00000400"])


def test_a_large_shard_cut_at_any_4_kib_boundary_is_damaged(tmp_path: Path, hashing: Hashing) -> None:
    """Cut short, and cut with the length kept (the pages that never reached the disk read as zeros)."""
    steps = 0
    pages = 256 * 1024 // PAGE
    for page in range(pages + 1):
        for keep_length in (False, True):
            steps += 1
            shard = write_step(tmp_path, steps, values=64 * 1024) / SHARD
            size = shard.stat().st_size
            with shard.open("r+b") as file:
                file.truncate(page * PAGE)
                if keep_length:
                    file.truncate(size)
    answer = call("verify", tmp_path, "--all", "--limit", "100000", env=hashing[1])
    assert answer.code == 1
    assert (answer.data["fail"], answer.data["total"]) == (steps, steps)
    assert all(any(SHARD in problem for problem in row["problems"]) for row in answer.data["checkpoints"])


@pytest.mark.parametrize("file", [FORMAT.shard_name(1, 2), "state.json", "manifest.json"])
def test_a_small_file_cut_anywhere_is_damaged(tmp_path: Path, file: str) -> None:
    whole = (write_step(tmp_path / "whole", 1) / file).read_bytes()
    lengths = sorted({0, 1, 7, 8, len(whole) // 3, len(whole) // 2, len(whole) - 2, len(whole) - 1})
    for step, length in enumerate(lengths, start=1):
        path = write_step(tmp_path / "cut", step) / file
        path.write_bytes(path.read_bytes()[:length])
    answer = call("verify", tmp_path / "cut", "--all")
    assert (answer.code, answer.data["fail"]) == (1, len(lengths))
    assert all(file in row["problems"][0] for row in answer.data["checkpoints"])


def test_every_single_bit_of_the_manifest_matters(tmp_path: Path) -> None:
    folder = write_step(tmp_path, 400)
    assert FORMAT.read_manifest(folder)["step"] == 400
    with (folder / "manifest.json").open("r+b", buffering=0) as file:
        for offset, byte in enumerate(file.read()):
            for bit in range(8):
                os.pwrite(file.fileno(), bytes([byte ^ 1 << bit]), offset)
                with pytest.raises(FORMAT.DamagedError):
                    FORMAT.read_manifest(folder)
            os.pwrite(file.fileno(), bytes([byte]), offset)
    assert FORMAT.read_manifest(folder)["step"] == 400


def test_one_flipped_bit_in_any_file_is_found_and_the_file_named(tmp_path: Path, hashing: Hashing) -> None:
    draw, expected = random.Random(7), {}
    for file in (SHARD, FORMAT.shard_name(1, 2), "state.json", "manifest.json"):
        for _ in range(12):
            step = len(expected) + 1
            path = write_step(tmp_path, step) / file
            flip(path, draw.randrange(8 * path.stat().st_size))
            expected[step] = file
    answer = call("verify", tmp_path, "--all", env=hashing[1])
    assert answer.code == 1
    assert {row["step"]: row["status"] for row in answer.data["checkpoints"]} == dict.fromkeys(expected, "fail")
    assert all(expected[row["step"]] in row["problems"][0] for row in answer.data["checkpoints"])


def test_latest_steps_down_over_damage_and_says_why(tmp_path: Path, hashing: Hashing) -> None:
    for step in (100, 200, 300):
        write_step(tmp_path, step)
    flip(tmp_path / "step_00000300" / SHARD, 2000)
    (tmp_path / "step_00000200" / "state.json").unlink()
    answer = call("latest", tmp_path, env=hashing[1])
    assert (answer.code, answer.data["step"]) == (0, 100)
    assert [(each["step"], each["reason"].partition(":")[0]) for each in answer.data["skipped"]] == [
        (300, SHARD),
        (200, "state.json"),
    ]
    assert len(answer.checks("warn")) == 2


def test_latest_is_exit_1_when_nothing_verifies_and_3_when_nothing_is_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert call("latest", tmp_path / "empty").error == "not-found"
    flip(write_step(tmp_path / "bad", 100) / "state.json", 3)
    answer = call("latest", tmp_path / "bad")
    assert (answer.code, answer.data["step"]) == (1, None)
    assert "state.json" in answer.checks("fail")["checkpoint.step_00000100"]


def test_a_pointer_that_names_nothing_does_not_mislead(tmp_path: Path) -> None:
    write_step(tmp_path, 100)
    (tmp_path / "latest").write_text("step_00000900\n")
    assert call("latest", tmp_path).data["step"] == 100
    assert "step_00000900" in call("list", tmp_path).checks("warn")["folder.latest"]


def test_what_is_not_this_steps_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    """A foreign folder of the same name, missing files, and the manifest of another step copied over."""
    write_step(tmp_path, 100)
    (tmp_path / "step_00000200").mkdir()
    (tmp_path / "step_00000200" / "notes.txt").write_text("somebody's")
    (write_step(tmp_path, 300) / SHARD).unlink()
    shutil.copy(tmp_path / "step_00000100" / "manifest.json", write_step(tmp_path, 400) / "manifest.json")
    shutil.copytree(tmp_path / "step_00000100", tmp_path / "step_00000500")
    problems = {row["step"]: row["problems"] for row in call("verify", tmp_path, "--all").data["checkpoints"]}
    assert problems[100] == []
    assert "no manifest.json" in problems[200][0]
    assert "missing" in problems[300][0]
    assert "of step 100" in problems[400][0] and "of step 100" in problems[500][0]
    assert call("latest", tmp_path).data["step"] == 100


def test_the_same_step_twice_is_one_committed_and_one_set_aside(tmp_path: Path) -> None:
    write_step(tmp_path, 100)
    write_step(tmp_path, 100, name="step_00000100.aside-e3")
    write_step(tmp_path, 100, name="step_000000100")
    rows = {row["name"]: row["kind"] for row in call("list", tmp_path).data["checkpoints"]}
    assert rows == {"step_00000100": "step", "step_00000100.aside-e3": "aside", "step_000000100": "unknown"}
    assert call("verify", tmp_path, "--all").data["pass"] == 2


def test_a_digest_that_this_python_cannot_compute_is_unknown(tmp_path: Path) -> None:
    folder = write_step(tmp_path, 100)
    files = FORMAT.read_manifest(folder)["files"]
    only_sizes = {name: {"size": listed["size"]} for name, listed in files.items()}
    (folder / "manifest.json").write_bytes(FORMAT.seal(FORMAT.read_manifest(folder) | {"files": only_sizes}))
    answer = call("verify", tmp_path)
    assert (answer.code, len(answer.checks("unknown"))) == (1, 1)


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "manifest.json", ".hidden", "a/b", ""])
def test_a_sealed_manifest_cannot_point_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    write_step(tmp_path / "checkpoints", 100, sealed_with={"files": {name: FORMAT.digest_of(b"x")}})
    answer = call("verify", tmp_path / "checkpoints")
    assert answer.code == 1
    assert "not a valid name for a file" in answer.checks("fail")["checkpoint.step_00000100"]


@pytest.mark.parametrize("member", ["step", "files", "reasons", "end_of_epoch"])
@pytest.mark.parametrize("value", [None, [], {}, "x", -1])
def test_a_sealed_manifest_with_a_wrong_member_is_damaged(tmp_path: Path, member: str, value: object) -> None:
    folder = write_step(tmp_path, 100, sealed_with={member: value})
    if (member, value) == ("reasons", []):
        assert FORMAT.read_manifest(folder)["reasons"] == []
        return
    with pytest.raises(FORMAT.DamagedError):
        FORMAT.read_manifest(folder)
    assert FORMAT.scan(tmp_path)[0].problem


def test_the_judgement_needs_a_bare_python(tmp_path: Path) -> None:
    """As it is sent into pods: no site-packages, no environment."""
    write_step(tmp_path, 100)
    flip(write_step(tmp_path, 200) / SHARD, 2000)
    driver = """
import sys, json
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from checkpoint_format import scan
from checkpoint_judgement import judge
answers = {entry.name: judge(Path(sys.argv[2]) / entry.name) for entry in scan(Path(sys.argv[2]))}
told = {name: [each.status, *each.problems] for name, each in answers.items()}
print(json.dumps([told, sorted({"xxhash", "isal", "click"} & set(sys.modules))]))
"""
    words = [sys.executable, "-I", "-S", "-", str(PROGRAM.parent), str(tmp_path)]
    done = subprocess.run(words, input=driver, capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == 0, done.stderr
    answers, imported = json.loads(done.stdout)
    assert imported == []
    assert answers["step_00000100"] == ["intact"]
    assert answers["step_00000200"][0] == "damaged" and "crc32 differs" in answers["step_00000200"][1]


def test_a_folder_that_tiers_name_lists_them(tmp_path: Path) -> None:
    write_step(tmp_path, 100, val_loss=1.0)
    write_step(tmp_path, 200, val_loss=2.0, end_of_epoch=True)
    write_tiers(tmp_path)
    rows = {row["step"]: row["tiers"] for row in call("list", tmp_path).data["checkpoints"]}
    assert rows == {100: ["best", "rolling"], 200: ["latest", "rolling", "epoch"]}
