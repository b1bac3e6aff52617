"""What a run tells is what shared-docs/run-folder.md says: the step line, steps.jsonl, events.jsonl; and TensorBoard without double points."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.training.rt_zygote import Ended, Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

DOCUMENT = (Path(__file__).parents[2] / "shared-docs" / "run-folder.md").read_text()
POLICY = {"rolling_steps": 2, "keep_rolling": 2}
METRICS = {"lr": 0.00031, "grad_norm": 1.25, "tokens_per_s": 15213.7}
RUNNERS_EVENTS = {"attempt", "attempt-ended", "restart-scheduled", "stop-requested", "run-ended"}


def documented_step_line() -> re.Pattern[str]:
    (line,) = [line for line in DOCUMENT.splitlines() if line.startswith("^trainyard step=")]
    return re.compile(line)


def documented_events() -> dict[str, set[str]]:
    """Event of the trainer -> the fields it has beside those that all have."""
    rows = re.findall(r"^\| `([a-z-]+)` \| trainer \| (.*) \|$", DOCUMENT, re.MULTILINE)
    return {name: set(re.findall(r"`([a-z_]+)`", fields)) for name, fields in rows}


def steps(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "steps.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def told(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Ended]]:
    """A run that is killed at step 5, goes on, goes NaN, is restarted from an older step, stopped, and finished."""
    run_dir = tmp_path_factory.mktemp("told") / "run"
    options = {"steps": 8, "policy": POLICY, "metrics": METRICS, "tensorboard": True, "val_losses": {4: 2.5}}
    starts: list[dict[str, Any]] = [
        {"wait_after": [2, 4], "after": {5: [["signal", "SIGKILL"]]}},
        {"nan_parameters_at": 6, "nan_loss_at": 6, "wait_after": [6], "after": {7: [["exit", 9]]}},
        {"which": "step:2", "wait_after": [4, 6], "after": {6: [["signal", "SIGTERM"]]}},
        {},
    ]
    ends = [zygote.run(run_dir, **options, **start) for start in starts]
    assert [end.code for end in ends] == [-9, 9, 143, 0], [end.stderr for end in ends]
    return run_dir, ends


def test_every_step_line_matches_the_documented_expression(told: tuple[Path, list[Ended]]) -> None:
    run_dir, ends = told
    expression = documented_step_line()
    lines = [line for end in ends for line in end.stdout.splitlines() if line.startswith("trainyard step=")]
    matches = [expression.fullmatch(line) for line in lines]
    assert all(matches) and [int(match["step"]) for match in matches if match] == [line["step"] for line in steps(run_dir)]
    assert expression.fullmatch("trainyard step=x loss=1") is None
    assert " lr=0.00031 grad_norm=1.25 tokens_per_s=15214" in lines[0]


def test_the_lines_of_steps_jsonl_have_the_documented_fields_with_full_precision(told: tuple[Path, list[Ended]]) -> None:
    example = json.loads(next(part for part in DOCUMENT.split("```json\n") if part.startswith('{"step"')).partition("```")[0])
    lines = steps(told[0])
    always = ["step", "time", "incarnation", "loss", "step_s", "blocked_s"]
    for line in lines:
        assert list(line)[:6] == always and set(line) <= set(example)
        assert {key: line[key] for key in METRICS} == METRICS
    assert [line["step"] for line in lines if "val_loss" in line] == [4, 4]
    assert len(str(lines[0]["loss"])) > 12
    assert {line["step"] for line in lines if line["blocked_s"] > 0} == {2, 4, 6, 8}, "the steps that were saved"


def test_a_repeated_step_appears_again_with_a_higher_incarnation(told: tuple[Path, list[Ended]]) -> None:
    by_start = {number: [line["step"] for line in steps(told[0]) if line["incarnation"] == number] for number in (1, 2, 3, 4)}
    assert by_start == {1: [1, 2, 3, 4, 5], 2: [5, 6, 7], 3: [3, 4, 5, 6, 7], 4: [8]}
    losses = {(line["incarnation"], line["step"]): line["loss"] for line in steps(told[0])}
    assert losses[1, 5] == losses[2, 5] == losses[3, 5], "repeated exactly"
    assert losses[2, 6] == "nan" and isinstance(losses[3, 6], float)


def test_every_event_has_exactly_its_documented_fields(told: tuple[Path, list[Ended]]) -> None:
    documented = documented_events()
    found = events(told[0])
    for event in found:
        assert set(event) - {"time", "type", "source", "incarnation"} == documented[event["type"]], event
        assert event["source"] == "trainer"
    elsewhere = {"save-failed", "retention-failed", "notes"}  # in the tests of the disk and of exactness
    assert {event["type"] for event in found} == set(documented) - elsewhere
    assert not RUNNERS_EVENTS & set(documented)
    assert [event["time"] for event in found] == sorted(event["time"] for event in found)


def test_the_events_tell_the_story_in_order(told: tuple[Path, list[Ended]]) -> None:
    story = [(event["incarnation"], event["type"], event.get("step")) for event in events(told[0])]
    assert story[:3] == [(1, "start", None), (1, "restored", 0), (1, "training", 0)]
    assert story[-4:] == [(4, "snapshot", 8), (4, "committed", 8), (4, "removed", None), (4, "closed", 8)]
    for each in [
        (1, "committed", 4),
        (2, "restored", 4),
        (2, "nan-loss", 6),
        (2, "rejected", 6),
        (3, "restored", 2),
        (3, "stopping", 7),
    ]:
        assert each in story
    starts = events(told[0], "start")
    assert [(start["world_size"], start["total_steps"], len(start["pids"])) for start in starts] == [(1, 8, 1)] * 4
    assert all(0 <= start["time"] - start["process_started"] < 600 for start in starts)


def test_tensorboard_holds_each_step_once_with_the_values_of_the_last_telling(told: tuple[Path, list[Ended]]) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    reader = accumulators.EventAccumulator(str(told[0] / "tensorboard"))
    reader.Reload()
    points = reader.Scalars("train/loss")
    assert [point.step for point in points] == list(range(1, 9))
    last = {line["step"]: line["loss"] for line in steps(told[0])}
    assert [point.value for point in points] == pytest.approx([last[step] for step in range(1, 9)], rel=1e-6)


def test_a_line_cut_short_by_a_kill_costs_itself_alone(zygote: Zygote, memory_path: Path) -> None:
    assert zygote.run(memory_path, steps=2).code == 0
    with (memory_path / "steps.jsonl").open("a") as file:
        file.write('{"step": 3, "ti')
    assert zygote.run(memory_path, steps=4).code == 0
    lines = (memory_path / "steps.jsonl").read_text().splitlines()
    assert lines[2] == '{"step": 3, "ti'
    assert [json.loads(line)["step"] for line in lines[:2] + lines[3:]] == [1, 2, 3, 4]


def test_without_a_run_folder_only_the_step_line_is_told(zygote: Zygote, memory_path: Path) -> None:
    env = {"TRAINYARD_RUN_DIR": "", "TRAINYARD_CHECKPOINTS": str(memory_path / "c")}
    ended = zygote.start(memory_path, env=env, steps=1).wait()
    assert ended.code == 0 and "trainyard step=1 " in ended.stdout
    assert [path.name for path in memory_path.iterdir()] == ["c"]
