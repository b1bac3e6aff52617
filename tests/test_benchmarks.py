"""The benchmarks run, print ratios with their goals, and call a miss a miss. Nothing here judges a time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import disk, report
from benchmarks.measuring import Bound, Comparison, Group, Series, interleave, more

ROOT = Path(__file__).resolve().parents[1]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True, timeout=240)


def compare(ours: float, peer: float, goal: float | None) -> Comparison:
    return Comparison("against a peer", Series("ours", (ours,)), Series("peer", (peer,)), goal)


def test_every_group_prints_ratios_and_keeps_them(tmp_path: Path) -> None:
    kept = tmp_path / "out" / "result.json"
    words = ["--size", "small", "--repeat", "1", "--dir", str(tmp_path), "--output", str(kept), "--note", "a test"]
    done = run(
        "--only", "save,async,restore,ranks,telling,help,image-check", *words
    )  # what looks at a cluster has a test of its own
    assert done.returncode == 0, done.stderr
    for title in (
        "durable save, 8 MB",
        "blocked time",
        "verified restore",
        "durable save at 2 ranks",
        "telling of a step",
        "--help",
        "conflicts of an image",
    ):
        assert f"== {title}" in done.stdout
    assert re.search(r"\d+ of \d+ goals met", done.stdout.splitlines()[-1])
    groups = json.loads(kept.read_text())["groups"]
    assert len(groups) == 7
    for group in groups:
        assert group["comparisons"] or group["bounds"]
        assert all(each["ratio"] > 0 for each in group["comparisons"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "the measured folder was left behind"


def test_the_doctor_is_measured(tmp_path: Path) -> None:
    """A wrong answer ends the benchmark, so a figure means that it was right."""
    done = run("--only", "doctor", "--pods", "1", "--repeat", "1", "--dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("== the doctor over 1 logs of 10 MB") == 4
    assert list(tmp_path.iterdir()) == []


def test_a_ratio_over_its_goal_is_printed_as_a_miss() -> None:
    group = Group("save", comparisons=[compare(1.2, 1.0, 1.15), compare(1.1, 1.0, 1.15)])
    missed, met = report.group_as_text(group).splitlines()[2:4]
    assert "MISS" in missed and "MISS" not in met and "met" in met
    assert report.summary([group]) == "1 of 2 goals met, 1 MISSED"


def test_a_ratio_without_a_goal_is_neither_met_nor_missed() -> None:
    assert compare(9.0, 1.0, None).verdict == "-"
    assert report.summary([Group("load", comparisons=[compare(9.0, 1.0, None)])]) == "0 of 0 goals met"


def test_a_median_over_its_bound_is_printed_as_a_miss() -> None:
    """Without a peer, or as what was taken beyond it."""
    ours, peer = Series("ours", (1.0, 3.0, 2.0)), Series("peer", (0.5, 1.0, 1.5))
    group = Group("check", bounds=[Bound("beyond", more(ours, peer), 0.4), Bound("alone", ours.seconds, 2.0)])
    missed, met = report.group_as_text(group).splitlines()[2:4]
    assert missed.split()[:2] == ["0.5000", "s"] and "MISS" in missed and "MISS" not in met and "met" in met
    assert report.summary([group]) == "1 of 2 goals met, 1 MISSED"


def test_the_ratio_is_the_median_of_repetitions_that_ran_side_by_side() -> None:
    ours, peer = Series("ours", (1.0, 10.0, 3.0)), Series("peer", (1.0, 5.0, 1.0))
    assert Comparison("x", ours, peer).ratio == 2.0  # the medians alone, 3.0 and 1.0, would say 3


def test_contestants_take_turns_and_nobody_always_begins() -> None:
    order: list[str] = []

    def contestant(name: str) -> float:
        order.append(name)
        return float(len(order))

    series = interleave({name: lambda name=name: contestant(name) for name in "ABC"}, 3)  # type: ignore[misc]
    assert "".join(order) == "CAB" + "ABC" + "BCA" + "CAB"
    assert series["A"].seconds == (4.0, 9.0, 11.0), "the warm-up counted, or a round was lost"


def test_a_cold_file_is_out_of_the_page_cache_and_a_warm_one_is_in_it(tmp_path: Path) -> None:
    if disk.file_system(tmp_path) in disk.MEMORY_FILE_SYSTEMS:
        pytest.skip("a file in memory has no cache to leave")
    file = tmp_path / "file"
    disk.write_and_fsync(file, [bytes(range(256)) * 40_000])
    assert disk.cached_share(file) > 0.9
    disk.make_cold(file)
    assert disk.cached_share(file) < 0.01
    disk.make_warm(file)
    assert disk.cached_share(file) > 0.9


def test_a_state_that_does_not_fit_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(disk.NoRoom, match="free"):
        disk.check_room(tmp_path, 10**18)
    disk.check_room(tmp_path, 1)


@pytest.mark.parametrize("words", [["--only", "sav"], ["--size", "huge"], ["--repeat", "0"]])
def test_wrong_words_are_refused(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 2 and not done.stdout and "error:" in done.stderr
