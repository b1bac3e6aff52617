"""Long logs: what makes the doctor quick takes no finding from it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from diagnose_call import PROGRAM, diagnose
from doctor_folders import error

from tests.calling import SKILLS
from tests.doctor_table import rules

sys.path.insert(0, str(SKILLS / "monitor" / "src"))
from diagnosis.anchor_words import ANCHORS, NARROW, WORDS, has_anchor
from diagnosis.log_pieces import pieces_of_interest
from diagnosis.rule_words import Sieve, words_of
from diagnosis.rules import all_rules

LOADER = "".join(
    f"2026-11-30T01:{each // 60 % 60:02d}:{each % 60:02d} INFO loader: shard {each} opened\n" for each in range(70_000)
)
PATTERNS = [(row["id"], [re.compile(each) for each in row["patterns"]]) for row in rules() if row.get("patterns")]
LINES = [str(row[key]) for row in rules() for key in ("example", "near_miss") if row.get(key)]


def test_no_rule_is_ruled_out_that_fits() -> None:
    """Every rule's words against every example, also in capital letters; few rules are left to be tried on a line."""
    sieve, tried = Sieve(PATTERNS and [(row, row[1]) for row in PATTERNS]), 0
    for line in [*LINES, *map(str.upper, LINES), *(each + " \u017f\u0130" for each in LINES)]:
        left = {id for id, _ in sieve.may_fit(line)}
        tried += len(left) if line.isascii() else 0
        assert {id for id, patterns in PATTERNS if any(each.search(line) for each in patterns)} <= left, line
    assert not sieve.always and tried / (2 * len(LINES)) < len(PATTERNS) / 8


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(?i)Xid .{0,9}(?:79|lost)", {"xid "}),
        ("killed|lost", {"killed", "lost"}),
        (r"\d+ left", {" left"}),
        ("(?:fail)?(?=abc)[0-9]", None),
        ("a.b|lost", None),
    ],
)
def test_words_of_a_pattern(pattern: str, words: set[str] | None) -> None:
    assert words_of(re.compile(pattern)) == words


def test_every_anchor_has_one_of_the_words() -> None:
    """Alternative by alternative, with what its letters may stand for."""
    pattern = ANCHORS.pattern.decode().removeprefix("(?i:").removesuffix(")")
    for each in re.split(r"\|(?![^(]*\))", pattern):
        text = each.replace("(?:d )?", "d ").replace("sig[ktsbai][a-z]{2,3}", "sigkill").replace("(?:ed|code)", "ed")
        text = re.sub(r"\(\?.*?\)|\\b", "", text)
        assert re.fullmatch(r"[\w' :/]+", text), text
        assert has_anchor(text.upper().encode()), each
        assert any(word in text.encode() for word in WORDS) or any(word.search(text.encode()) for word in NARROW), each


def test_a_root_in_a_noisy_middle_is_found(tmp_path: Path) -> None:
    """Ten thousand repeated warnings are not read one by one; another error among them is."""
    warning = "WARNING reader: error 5 at part {:016x}, trying again\n"
    lines = LOADER.splitlines(keepends=True)
    noisy = "".join(line + (warning.format(number * 7919) if number % 6 == 0 else "") for number, line in enumerate(lines))
    half = noisy.rfind("\n", 0, len(noisy) * 2 // 3) + 1
    path = tmp_path / "train.log"
    path.write_text(
        noisy[:half] + error(2, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.") + noisy[half:]
    )
    answer = diagnose("summary", path).data
    found = next(each for each in answer["errors"] if each["cause"] == "gpu-oom")
    assert found["ranks"] == [2] and found["line"] == path.read_text()[:half].count("\n") + 4
    assert any("are not counted" in note for note in answer["notes"])


def test_a_warning_that_is_often_repeated_opens_no_long_window(tmp_path: Path) -> None:
    """Of each shape a dozen do; what has an exception in its words always does, however often it came before."""
    said = "".join(
        f"INFO shard {number} opened\n" + (f"WARNING reader: part {number} late\n" if number % 40 == 0 else "")
        for number in range(9000)
    )
    path = tmp_path / "train.log"
    path.write_text(said + error(2, "KeyError: 'answer_start'"))
    read = [line for _, line in pieces_of_interest(path) if line is not None]
    assert sum(b"WARNING" in line for line in read) == 225, "each of them is seen"
    assert len(read) < 4000, "a window of sixty lines after each is the whole log"
    assert diagnose("doctor", path).data["root"]["rank"] == 2
    caught = error(1, "KeyError: 'first'") * 40
    path.write_text(said + caught + said + error(2, "ValueError: the end"))
    assert b"[rank2]: ValueError: the end" in [line for _, line in pieces_of_interest(path) if line is not None]


def test_a_quiet_log_counts_all(tmp_path: Path) -> None:
    """The control: what is read whole says so by saying nothing."""
    path = tmp_path / "train.log"
    path.write_text(LOADER + "WARNING reader: error 5, trying again\n" + LOADER)
    assert diagnose("summary", path).data["notes"] == []


def _asked(folder: Path, cores: set[int]) -> dict[str, object]:
    """The doctor's answer, where it may run on these cores only."""
    command = ["taskset", "-c", ",".join(map(str, cores)), sys.executable, str(PROGRAM), "doctor", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    data: dict[str, object] = json.loads(done.stdout)["data"]
    return data


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: there is nothing to share")
def test_several_processes_read_many_long_logs_and_the_answer_is_the_same(tmp_path: Path) -> None:
    rows = [{"name": f"train-worker-{each}", "node": f"node-{each}", "node_rank": each} for each in range(6)]
    for row in rows:
        (tmp_path / "pods" / str(row["name"])).mkdir(parents=True)
        number = int(str(row["node_rank"]))
        lost = error(number, "RuntimeError: [gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.3.7]:33450")
        end = error(3, "KeyError: 'answer_start'") if number == 3 else lost
        (tmp_path / "pods" / str(row["name"]) / "pytorch.log").write_text(LOADER * 4 + end)
    size = {"world_size": 6, "procs_per_node": 1, "pods": rows, "left_out": []}
    (tmp_path / "evidence.json").write_text(json.dumps({"format": 1, "time": 1_796_000_000.0, "run": "train"} | size))
    cores = sorted(os.sched_getaffinity(0))
    alone, together = _asked(tmp_path, {cores[0]}), _asked(tmp_path, set(cores[:2]))
    assert together == alone
    assert together["root"]["rank"] == 3 and "answer_start" in json.dumps(together["root"])  # type: ignore[index]


def test_a_rule_goes_between_processes_by_its_id() -> None:
    for each in all_rules():
        found, words = each.__reduce__()
        assert found(*words) is each
