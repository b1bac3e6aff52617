"""`metrics` on what logs are really like: several ranks, colours, bars, junk; the user's pattern; the export."""

from __future__ import annotations

import csv
import json
import os
import random
from pathlib import Path

import pytest
from monitor_call import call, run
from monitor_log_lines import titan, tune, verl_ppo
from test_monitor_report import _within

PATTERN = r"at (?P<step>\d+): it costs (?P<loss>\S+) with (?P<throughput>\d+) words/s"
OWN = [f"at {n}: it costs {10 - n}.5 with 40 words/s" for n in range(1, 6)]


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write(tmp_path / "train.log", [titan(n, 10.0 - n, seconds=n) for n in range(1, 9)])


# --- who wrote the line ------------------------------------------------------------------------------------------


def test_of_several_ranks_the_lowest_counts(tmp_path: Path) -> None:
    order = random.Random(1)
    lines = []
    for step in range(1, 200):
        ranks = list(range(12))
        order.shuffle(ranks)
        lines += [titan(step, step + rank / 100, rank=rank) for rank in ranks]
    data = call("metrics", write(tmp_path / "train.log", lines), "--limit", 500)["data"]
    assert [point["loss"] for point in data["points"]] == [float(step) for step in range(1, 200)]
    assert data["summary"]["restarts"] == 0 and any("rank 0, 2189 lines of others" in note for note in data["notes"])


def test_ranks_without_a_prefix_are_one_curve_without_restarts(tmp_path: Path) -> None:
    lines = []
    for step in range(1, 50):
        lines += [tune(step, 2.0 + step), tune(step, 2.0 + step)] + ([tune(step - 1, 2.0)] if step > 1 else [])
    data = call("metrics", write(tmp_path / "train.log", lines), "--limit", 100)["data"]
    assert [point["step"] for point in data["points"]] == list(range(1, 50)) and data["summary"]["restarts"] == 0


def test_the_successor_of_a_pod_goes_on_and_its_step_back_is_a_restart(tmp_path: Path) -> None:
    first = [f"[pod/train-abcde/pytorch] {tune(n, 2.0)}" for n in range(1, 400)]
    second = [f"[pod/train-fghij/pytorch] {tune(n, 1.0)}" for n in range(380, 500)]
    summary = call("metrics", write(tmp_path / "train.log", first + second))["data"]["summary"]
    assert summary["restart_steps"] == [{"from": 399, "to": 380}]
    assert (summary["last_step"], summary["last_loss"]) == (499, 1.0)


def test_prefixes_of_torchrun_kubectl_ray_and_containers_do_not_hide_the_line(tmp_path: Path) -> None:
    for prefix in (
        "[default0]:",
        "[rank0]:",
        "(TaskRunner pid=1, ip=10.0.0.1) ",
        "2026-01-01T00:00:00.123456789Z ",
        "worker-1  | ",
    ):
        data = call("metrics", write(tmp_path / "train.log", [prefix + tune(7, 2.5)]))["data"]
        assert (data["format"], data["summary"]["last_step"], data["summary"]["last_loss"]) == ("torchtune", 7, 2.5), prefix


# --- junk --------------------------------------------------------------------------------------------------------


def test_junk_around_the_lines_changes_nothing(tmp_path: Path) -> None:
    dice = random.Random(5)
    path = tmp_path / "train.log"
    with path.open("wb") as file:
        for step in range(1, 41):
            file.write(dice.randbytes(300).replace(b"\r", b"") + b"\n")
            file.write(b"\x1b]0;title\x07\x1b[2K\r" + b"  5%|#   | 5/100 [00:01<00:19,  5.0it/s]\r" * 3)
            file.write(b"x" * 200_000 + b"\n" + b"\xff\xfe\x00 step: loss: nan\n" + b"step: 12  loss: \n{'loss': \n\n\r\r")
            file.write(titan(step, 50.5 - step).encode() + b"\r\n")
    data = call("metrics", path)["data"]
    assert (data["format"], data["total"], data["summary"]["last_loss"]) == ("torchtitan", 40, 10.5)
    assert "\x1b" not in json.dumps(data) and "\\u001b" not in json.dumps(data)


def test_a_half_line_is_not_believed(log: Path) -> None:
    whole = call("metrics", log)["data"]
    with log.open("a") as file:
        file.write(titan(9, 1.23456).split("23456")[0])
    data = call("metrics", log)["data"]
    assert data["points"] == whole["points"] and any("no end yet" in note for note in data["notes"])


def test_a_value_cut_by_a_unit_or_a_version_is_no_number(tmp_path: Path) -> None:
    path = write(tmp_path / "train.log", ["step 1 loss 2.5k", "step 2 loss 1.2.3", "step 3 loss 2.25", "step 4 loss v5"])
    data = call("metrics", path)["data"]
    assert [(point["step"], point["loss"]) for point in data["points"]] == [(3, 2.25)]


@pytest.mark.parametrize(
    "line",
    [
        "step: " + "1" * 30_000,
        "loss " * 6000,
        "{'" + "a': {'" * 5000,
        "[" * 30_000,
        "step 1 " + "loss: " * 5000,
        ", " * 15_000,
        "val_" * 8000,
    ],
)
def test_hostile_lines_cost_no_time(tmp_path: Path, line: str) -> None:
    """The call's own deadline would fail: 200 such lines with a quadratic rule take minutes."""
    path = write(tmp_path / "train.log", [line] * 200 + [tune(1, 2.5)])
    assert call("metrics", path)["data"]["summary"]["last_loss"] == 2.5


def test_a_log_in_no_format_shows_a_few_lines_and_how_to_give_a_pattern(tmp_path: Path) -> None:
    path = write(tmp_path / "train.log", ["\x1b[31mhello\x07 " + "y" * 5000] + [f"line {n}" for n in range(100)])
    answer = call("metrics", path, code=2)
    assert "none of 101 lines" in answer["error"]["message"] and "--pattern" in answer["error"]["hint"]
    assert len(answer["data"]["samples"]) == 5 and all(len(line) <= 160 for line in answer["data"]["samples"])
    assert answer["data"]["samples"][0].startswith("hello y")


def test_what_is_no_log_is_refused_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "empty.log").write_text("")
    assert "no whole line" in call("metrics", tmp_path / "empty.log", code=2)["error"]["message"]
    (tmp_path / "log.gz").write_bytes(b"\x1f\x8b\x08junk")
    assert "zcat" in call("metrics", tmp_path / "log.gz", code=2)["error"]["hint"]
    os.mkfifo(tmp_path / "fifo")
    assert "not a regular file" in call("metrics", tmp_path / "fifo", code=2)["error"]["message"]
    assert call("metrics", tmp_path / "none.log", code=3)["error"]["code"] == "not-found"
    (tmp_path / "folder").mkdir()
    assert call("metrics", tmp_path / "folder", code=3)["error"]["code"] == "not-found"


def test_the_log_of_34_days_fits(tmp_path: Path) -> None:
    """A line every 30 s for 34 days, within 128 MB of address space, of which an empty log takes 60."""
    path = tmp_path / "train.log"
    with path.open("w") as file:
        file.writelines(f"step={step} loss=2.5 lr=3e-4 tokens_per_s=1024.0\n" for step in range(1, 97_921))
    data = _within(128 << 20, "metrics", path)
    assert (data["total"], data["summary"]["last_step"], len(data["points"])) == (97_920, 97_920, 10)


# --- the user's pattern ------------------------------------------------------------------------------------------


def test_a_pattern_reads_what_no_format_knows(tmp_path: Path) -> None:
    path = write(tmp_path / "train.log", ["hello", *OWN])
    call("metrics", path, code=2)
    data = call("metrics", path, "--pattern", PATTERN)["data"]
    assert [(p["step"], p["loss"], p["throughput"]) for p in data["points"]] == [(n, 10.5 - n, 40.0) for n in range(1, 6)]
    assert data["format"] == "pattern" and "pattern" in data["throughput_unit"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(?P<step>", "not a regular expression"),
        (r"(?P<stpe>\d+) (?P<loss>.)", "stpe"),
        (r"(?P<step>\d+)", "names no loss"),
        ("(?P<loss>zzz)", "--pattern finds"),
    ],
)
def test_a_pattern_that_cannot_work_says_why(tmp_path: Path, pattern: str, expected: str) -> None:
    path = write(tmp_path / "train.log", OWN)
    assert expected in call("metrics", path, "--pattern", pattern, code=2)["error"]["message"]


# --- the export --------------------------------------------------------------------------------------------------


def test_csv_and_json_hold_every_point_and_can_be_read_again(log: Path, tmp_path: Path) -> None:
    points = call("metrics", log)["data"]["points"]
    target = tmp_path / "out.csv"
    answer = call("metrics", log, "--export", target, "--limit", 1)
    assert answer["changed"] == [str(target)] and answer["data"]["export"] == {"path": str(target), "written": True}
    with target.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(int(row["step"]), float(row["loss"])) for row in rows] == [(point["step"], point["loss"]) for point in points]
    assert rows[0]["throughput [tokens/s/device]"] == "12345.0" and rows[0]["trainyard_log_format"] == "torchtitan"

    again = call("metrics", target)["data"]
    assert [point["loss"] for point in again["points"]] == [point["loss"] for point in points]
    assert again["throughput_unit"] == "tokens/s/device"

    call("metrics", log, "--export", tmp_path / "out.json")
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["points"] == points and document["throughput_unit"] == "tokens/s/device"


def test_evaluations_and_values_that_are_no_numbers_are_exported_in_their_place(tmp_path: Path) -> None:
    lines = ["step=1 loss=nan", "step=2 loss=2.5", "step=2 val_loss=3.5", "step=3 loss=2.0 lr=0.5", "step=9 val_loss=3.0"]
    call("metrics", write(tmp_path / "train.log", lines), "--export", tmp_path / "out.csv")
    text = (tmp_path / "out.csv").read_text().splitlines()
    assert text == [
        "step,loss,lr,eval_loss,trainyard_log_format",
        "1,nan,,,key-value",
        "2,2.5,,3.5,key-value",
        "3,2.0,0.5,,key-value",
        "9,,,3.0,key-value",
    ]


def test_an_export_replaces_its_own_and_nothing_else_unasked(log: Path, tmp_path: Path) -> None:
    for name in ("out.csv", "out.json"):
        call("metrics", log, "--export", tmp_path / name)
        call("metrics", log, "--export", tmp_path / name)
        (tmp_path / name).write_text("step,loss\n1,2\n")
        assert call("metrics", log, "--export", tmp_path / name, code=5)["error"]["code"] == "conflict"
        assert (tmp_path / name).read_text() == "step,loss\n1,2\n"
        assert call("metrics", log, "--export", tmp_path / name, "--yes")["changed"] == [str(tmp_path / name)]
    table = write(tmp_path / "log.csv", ["step,loss", "1,2.5", "2,2.25"])
    assert call("metrics", table, "--export", table, "--yes", code=5)["error"]["code"] == "conflict"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_dry_run_exports_nothing_and_a_wrong_place_is_refused(log: Path, tmp_path: Path) -> None:
    answer = call("metrics", log, "--export", tmp_path / "out.csv", "--dry-run")
    assert answer["changed"] == [] and answer["data"]["export"]["written"] is False and not (tmp_path / "out.csv").exists()
    assert call("metrics", log, "--export", tmp_path / "out.txt", code=2)["error"]["code"] == "usage"
    assert call("metrics", log, "--export", tmp_path / "no" / "out.csv", code=3)["error"]["code"] == "not-found"


def test_a_table_for_people_names_the_unit(log: Path) -> None:
    text = run("metrics", log, "--format", "table").stdout
    assert "tokens/s/device" in text and "torchtitan: 8 points" in text


def test_a_ray_prefix_and_numpy_numbers_are_read(tmp_path: Path) -> None:
    data = call("metrics", write(tmp_path / "train.log", [verl_ppo(n, -0.5, 0.25) for n in (1, 2)]))["data"]
    assert data["fields"]["loss"] == "actor/pg_loss" and data["summary"]["last_loss"] == -0.5
