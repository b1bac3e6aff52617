"""Bad input of every kind ends in one clear document; good input is listed and shown in full."""

from __future__ import annotations

import errno
import os
import pty
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_checkpoints import FORMAT, PROGRAM, ROOT, call, tree, wait_for, write_step, write_tiers

VERBS = ["list", "latest", "verify", "show", "prune"]
SHARD = FORMAT.shard_name(0, 2)


@pytest.mark.parametrize("verb", VERBS)
def test_a_missing_folder_is_not_found_by_any_verb(tmp_path: Path, verb: str) -> None:
    answer = call(verb, tmp_path / "none")
    assert (answer.code, answer.error) == (3, "not-found")
    assert "no folder" in answer.document["error"]["message"]


def test_what_is_no_checkpoint_folder_is_said_to_be_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    for folder, words in {"file": "is a file", "other": "not a checkpoint folder", "run": "without checkpoints yet"}.items():
        answer = call("list", tmp_path / folder)
        assert (answer.code, answer.error) == (3, "not-found"), folder
        assert words in answer.document["error"]["message"]
        assert answer.document["error"]["hint"]


@pytest.mark.parametrize("path", ["a" * 5000, "\x1b[31mred", "no\nsuch"])
def test_a_strange_path_is_not_found_and_printed_harmlessly(path: str) -> None:
    answer = call("list", path)
    assert answer.code == 3
    assert answer.document["error"]["message"].isprintable()


def test_an_empty_folder_lists_nothing_and_has_no_latest(tmp_path: Path) -> None:
    assert (call("list", tmp_path).code, call("list", tmp_path).data["total"]) == (0, 0)
    for verb in ("latest", "verify", "show"):
        assert call(verb, tmp_path).code == 3


def test_a_run_folder_stands_for_its_checkpoints(tmp_path: Path) -> None:
    write_step(tmp_path / "checkpoints", 100)
    (tmp_path / "run.json").write_text("{}")
    assert call("latest", tmp_path).data["step"] == 100


def test_an_unknown_step_names_those_there_are(tmp_path: Path) -> None:
    write_step(tmp_path, 100)
    for verb in ("verify", "show"):
        answer = call(verb, tmp_path, "--step", "7")
        assert (answer.code, "100" in answer.document["error"]["message"]) == (3, True)


@pytest.mark.parametrize(
    "words", [["--step", "x"], ["--step", "-1"], ["--step", "1", "--all"], ["--limit", "-1"], ["more"], ["--al"]]
)
def test_wrong_words_are_a_usage_error(tmp_path: Path, words: list[str]) -> None:
    assert call("verify", tmp_path, *words).code == 2


def garbage() -> dict[str, bytes]:
    return {
        "random": random.Random(1).randbytes(8 << 20),
        "zeros": bytes(4 << 20),
        "deep list": b"[" * 1_000_000,
        "deep object": b'{"a":' * 300_000,
        "huge number": b"1" * 1_000_000,
        "sealed but deep": b'{"format":"trainyard-checkpoint","version":1,"x":' + b"[" * 900 + b"]" * 900 + b"}",
        "wide": b"[" + b"1," * 1_000_000 + b"1]",
        "infinite": b'{"format":"trainyard-checkpoint","version":1,"step":1e999}',
    }


def test_garbage_as_manifest_is_a_damaged_checkpoint(tmp_path: Path) -> None:
    write_step(tmp_path, 100)
    kinds = dict(enumerate(garbage().values(), start=201))
    for step, data in kinds.items():
        (write_step(tmp_path, step) / "manifest.json").write_bytes(data)
    answer = call("list", tmp_path)
    problems = {row["step"]: row["problem"] for row in answer.data["checkpoints"]}
    assert (answer.code, problems.pop(100), set(problems)) == (0, None, set(kinds))
    assert all("manifest.json" in problem and len(problem) < 300 for problem in problems.values())
    assert call("latest", tmp_path).data["step"] == 100
    assert call("show", tmp_path, "--step", "203").code == 1


@pytest.mark.parametrize("kind", ["random", "deep list", "wide"])
def test_garbage_in_the_other_files_breaks_no_verb(tmp_path: Path, kind: str) -> None:
    for path in (write_step(tmp_path, 100) / "state.json", *(tmp_path / name for name in FORMAT.OWN_FILES)):
        path.write_bytes(garbage()[kind])
    for verb, option in (("list", []), ("show", ["--step", "100"]), ("latest", []), ("prune", ["--dry-run"])):
        assert call(verb, tmp_path, *option).code in (0, 1), verb


@pytest.mark.parametrize(
    "tiers", ['{"format":1,"rolling":[[1]],"epoch":[],"latest":1,"best":{}}', '{"format":1,"rolling":"x"}', '{"format":2}']
)
def test_a_wrong_tiers_file_counts_as_missing(tmp_path: Path, tiers: str) -> None:
    write_step(tmp_path, 100)
    (tmp_path / "tiers.json").write_text(tiers)
    assert "folder.tiers" in call("list", tmp_path).checks("warn")
    assert call("prune", tmp_path, "--dry-run").code == 0


def test_a_fifo_in_place_of_a_file_does_not_hang(tmp_path: Path) -> None:
    inside = [write_step(tmp_path, step) / name for step, name in ((100, "manifest.json"), (200, "state.json"), (300, SHARD))]
    for path in (*inside, *(tmp_path / name for name in FORMAT.OWN_FILES)):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    assert call("list", tmp_path).code == 0
    assert call("verify", tmp_path, "--all").data["fail"] == 3
    for step in ("100", "200"):
        assert call("show", tmp_path, "--step", step).code == 1


def without_privileges() -> list[str]:
    """Words before a command that make file permissions count, for root too."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root reads everything, and setpriv (util-linux) is not there")
    caps = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={caps}", f"--inh-caps={caps}"]


def test_what_may_not_be_read_is_a_permission_error_and_no_damage(tmp_path: Path) -> None:
    words = without_privileges()
    for folder in ("shut", "no-entry", "open", "manifest"):
        write_step(tmp_path / folder, 100)
    (tmp_path / "shut").chmod(0)
    (tmp_path / "no-entry").chmod(0o400)
    (tmp_path / "open" / "step_00000100" / "state.json").chmod(0)
    (tmp_path / "manifest" / "step_00000100" / "manifest.json").chmod(0)
    try:
        for folder in ("shut", "no-entry"):
            answer = call("list", tmp_path / folder, before=words)
            assert (answer.code, answer.error) == (4, "permission")
        for folder in ("open", "manifest"):
            answer = call("verify", tmp_path / folder, before=words)
            assert (answer.code, answer.data["unknown"], answer.data["fail"]) == (1, 1, 0)
    finally:
        (tmp_path / "shut").chmod(0o700)
        (tmp_path / "no-entry").chmod(0o700)


def on_a_terminal(*words: str | Path) -> str:
    """What the program prints when stdout is a pseudo-terminal."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, words)], stdout=slave, stderr=slave, stdin=subprocess.DEVNULL
    ) as process:
        os.close(slave)
        output = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError as error:  # Linux says EIO when the other end is closed
                assert error.errno == errno.EIO
                break
            if not part:
                break
            output += part
    os.close(master)
    assert process.returncode is not None
    return output.decode()


def test_names_with_control_characters_reach_no_terminal(tmp_path: Path) -> None:
    write_step(tmp_path, 100)
    for name in (b"step_00000200\x1b[2J", b"two\nlines", b"\xff\xfe", "right-to-left \u202e".encode()):
        os.mkdir(os.fsencode(tmp_path) + b"/" + name)
    text = on_a_terminal("list", tmp_path, "--format", "table")
    assert "\x1b[2J" not in text and "\u202e" not in text
    assert "\\x1b[2J" in text and "two\\nlines" in text and "\\udcff" in text
    assert call("list", tmp_path).data["total"] == 5
    assert call("prune", tmp_path, "--keep-rolling", "0", "--dry-run").data["total_keep"] == 5


def test_the_table_says_what_the_document_says(tmp_path: Path) -> None:
    write_step(tmp_path, 100, val_loss=1.25)
    write_tiers(tmp_path)
    text = on_a_terminal("list", tmp_path)
    assert not text.startswith("{")
    line = next(line for line in text.splitlines() if "step_00000100" in line and "1.25" in line)
    assert "best" in line


def test_show_tells_files_tensors_and_state_and_bounds_them(tmp_path: Path) -> None:
    folder = write_step(tmp_path, 100)
    data = call("show", tmp_path).data
    assert {row["tensor"]: (row["dtype"], row["shape"]) for row in data["tensors"]} == {
        "model.w0": ("F32", [64]),
        "model.w1": ("F32", [64]),
    }
    assert {Path(row["path"]) for row in data["files"]} == {path for path in folder.iterdir() if path.name != "manifest.json"}
    assert {row["member"]: row["value"] for row in data["state"]}["shared.step"] == 100
    bounded = call("show", tmp_path, "--limit", "1")
    assert (len(bounded.data["tensors"]), bounded.data["total_tensors"], bounded.document["truncated"]) == (1, 2, True)


def test_a_long_list_is_cut_with_the_true_total(tmp_path: Path) -> None:
    for step in range(1, 8):
        write_step(tmp_path, step)
    answer = call("list", tmp_path, "--limit", "2")
    assert ([row["step"] for row in answer.data["checkpoints"]], answer.data["total"], answer.document["truncated"]) == (
        [7, 6],
        7,
        True,
    )
    assert call("verify", tmp_path, "--all", "--limit", "2").data["total"] == 7


def test_reading_verbs_change_nothing(tmp_path: Path) -> None:
    write_step(tmp_path, 100)
    write_tiers(tmp_path)
    before = tree(tmp_path)
    for verb in ("list", "latest", "verify", "show"):
        call(verb, tmp_path)
    assert tree(tmp_path) == before


def test_checkpoints_are_inspected_without_torch(tmp_path: Path) -> None:
    write_step(tmp_path, 100)
    for words in (["list"], ["verify"], ["show"], ["prune", "--dry-run"]):
        command = [sys.executable, "-X", "importtime", str(PROGRAM), words[0], str(tmp_path), *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
        assert done.returncode == 0
        assert "checkpoint_folder" in done.stderr and "| torch" not in done.stderr


def test_a_folder_that_changes_while_it_is_listed_is_listed(tmp_path: Path) -> None:
    """A run that lives commits and removes steps meanwhile: nothing that went away is called damaged."""
    churn = """
import itertools, os, shutil, sys
root = sys.argv[1]
for number in itertools.count():
    shutil.copytree(root + "/step_00000100", root + "/.copy")
    os.rename(root + "/.copy", root + "/step_00000100.aside-e7")
    os.rename(root + "/step_00000100.aside-e7", root + "/step_00000100.removed.tmp")
    shutil.rmtree(root + "/step_00000100.removed.tmp")
    if number == 5:
        open(root + "/.churning", "w").close()
"""
    write_step(tmp_path, 100)
    with subprocess.Popen([sys.executable, "-c", churn, str(tmp_path)]) as process:
        try:
            wait_for((tmp_path / ".churning").exists)
            for _ in range(5):
                answer = call("verify", tmp_path, "--all")
                assert (answer.code, answer.checks("fail")) == (0, {})
        finally:
            process.kill()
