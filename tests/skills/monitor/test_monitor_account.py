"""The goodput account against ledgers that were kept while the histories were made up."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from monitor_call import SKILL, call
from monitor_run_writer import KINDS, RunWriter, random_history

HISTORIES = 80
DRIVER = """
import json, sys
from pathlib import Path
from goodput.account import account
from goodput.from_records import read_history
from goodput.summary import summarize
for folder in sorted(Path(sys.argv[1]).iterdir()):
    history = read_history(folder)
    print(json.dumps({"folder": folder.name, **summarize(history, account(history))}))
"""


def summaries(folder: Path) -> dict[str, dict[str, Any]]:
    """One fresh process looks at every run folder in `folder`."""
    command = [sys.executable, "-c", DRIVER, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=folder, env={"PYTHONPATH": str(SKILL / "src")}
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {str(one["folder"]): one for one in found}


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[RunWriter, dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("histories")
    writers = [random_history(folder / f"{seed:04d}", seed) for seed in range(HISTORIES)]
    told = summaries(folder)
    return [(writer, told[writer.path.name]) for writer in writers]


def test_the_parts_add_up_to_the_wall_time_on_every_history(histories: list[tuple[RunWriter, dict[str, Any]]]) -> None:
    for writer, told in histories:
        assert sum(told["account"].values()) == pytest.approx(told["wall_s"], abs=1e-6), writer.path
        assert told["wall_s"] == pytest.approx(writer.now - (writer.began or 0), abs=1e-6)


def test_the_fields_names_add_up_too(histories: list[tuple[RunWriter, dict[str, Any]]]) -> None:
    """Under the names of ml-goodput-measurement: what is null is contained in another, and said to be."""
    for writer, told in histories:
        named = told["categories"]
        assert sum(value for value in named.values() if value is not None) == pytest.approx(told["wall_s"], abs=1e-6), (
            writer.path
        )
        assert named["wasted_progress"] == told["account"]["repeated"] and named["accelerator_init"] is None


def test_an_evaluation_is_not_productive(tmp_path: Path) -> None:
    """What a step with a validation loss took beyond the usual step; the same time without one is productive."""
    for name, extra in (("told", {"val_loss": 2.0}), ("untold", {})):
        run = RunWriter(tmp_path / "runs" / name)
        run.launch()
        run.live()
        for step in range(20):
            run.train(work_s=3.5, **extra) if step == 9 else run.train()
        run.close(finished=True)
    told = summaries(tmp_path / "runs")
    assert told["told"]["categories"]["evaluation"] == pytest.approx(3.0, abs=1e-3)
    assert told["untold"]["categories"]["evaluation"] == 0
    assert told["told"]["account"] == pytest.approx(told["untold"]["account"])


def test_every_part_equals_the_ledger_of_who_made_the_history(histories: list[tuple[RunWriter, dict[str, Any]]]) -> None:
    for writer, told in histories:
        assert told["account"] == pytest.approx(writer.ledger, abs=2e-3), writer.path


def test_the_histories_contain_every_kind_of_time(histories: list[tuple[RunWriter, dict[str, Any]]]) -> None:
    assert {kind for kind in KINDS if any(told["account"][kind] > 0.1 for _, told in histories)} == set(KINDS)


def test_kills_repeated_steps_and_delays_are_those_that_happened(histories: list[tuple[RunWriter, dict[str, Any]]]) -> None:
    for writer, told in histories:
        assert told["steps"] == writer.total_steps == told["total_steps"]
        assert told["steps_repeated"] == writer.repeated_steps, writer.path
        assert told["death_to_new_step_s"] == pytest.approx(writer.new_steps, abs=2e-3), writer.path
        assert told["restarts"] == writer.incarnation - 1
    assert any(writer.new_steps for writer, _ in histories)


def test_a_missing_restore_event_moves_time_but_loses_none(tmp_path: Path) -> None:
    """The negative control of the ledger: the parts change, the sum does not."""
    writer = random_history(tmp_path / "a" / "run", 3)
    events = writer.path / "events.jsonl"
    events.write_text("".join(line for line in events.read_text().splitlines(True) if '"restored"' not in line))
    told = summaries(tmp_path / "a")["run"]
    assert told["account"]["restoring"] == 0 != writer.ledger["restoring"]
    assert sum(told["account"].values()) == pytest.approx(told["wall_s"], abs=1e-6)


def test_a_step_told_again_with_its_evaluation_was_not_done_again(tmp_path: Path) -> None:
    plain, told_again = (random_history(tmp_path / "runs" / name, 3) for name in ("plain", "told-again"))
    steps = told_again.path / "steps.jsonl"
    lines = [json.loads(line) for line in steps.read_text().splitlines()]
    steps.write_text("".join(f"{json.dumps(line)}\n{json.dumps({**line, 'val_loss': 2.5})}\n" for line in lines))
    first, second = summaries(tmp_path / "runs").values()
    assert second["account"] == pytest.approx(first["account"], abs=1e-6)
    assert second["steps_repeated"] == first["steps_repeated"] == plain.repeated_steps


def _clock_set_back(path: Path) -> None:
    """From the middle of both files on, an hour earlier."""
    for name in ("steps.jsonl", "events.jsonl"):
        lines = [json.loads(line) for line in (path / name).read_text().splitlines()]
        middle = 1_790_000_012.0
        for line in lines:
            line["time"] -= 3600 if line["time"] > middle else 0
        (path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_clock_set_back_never_makes_a_part_negative_and_is_told(tmp_path: Path) -> None:
    writer = random_history(tmp_path / "run", 5)
    _clock_set_back(writer.path)
    answer = call("report", writer.path, "--dry-run")["data"]
    assert all(seconds >= 0 for seconds in answer["account"].values())
    assert sum(answer["account"].values()) == pytest.approx(answer["summary"]["wall_s"], abs=1e-6)
    assert any("clock went backwards" in note for note in answer["notes"])


def test_steps_without_any_events_still_give_an_account(tmp_path: Path) -> None:
    writer = random_history(tmp_path / "run", 7)
    (writer.path / "events.jsonl").unlink()
    answer = call("report", writer.path, "--dry-run")["data"]
    assert answer["account"]["productive"] > 0
    assert sum(answer["account"].values()) == pytest.approx(answer["summary"]["wall_s"], abs=1e-6)


def test_a_run_that_lives_is_accounted_up_to_now(tmp_path: Path, living_run: RunWriter) -> None:
    summary = call("status", living_run.path)["data"]["summary"]
    assert summary["wall_s"] > living_run.now - (living_run.began or 0) + 50
    assert summary["account"]["stalled"] > 50
    assert sum(summary["account"].values()) == pytest.approx(summary["wall_s"], abs=1e-6)


def test_a_stop_is_no_kill(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run")
    run.launch()
    run.live()
    run.train()
    run.event("stop-requested", by="test")
    run.die_with_attempt()  # the grace period was over: SIGKILL, without `closed`
    run.end("stopped")
    run.launch()
    run.live()
    run.train()
    summary = call("status", run.path)["data"]["summary"]
    assert (summary["kills_survived"], summary["restarts"], summary["death_to_new_step_s"]) == (0, 1, [])


def test_attempts_that_never_reached_the_script_count_as_restarts(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run")
    run.launch()
    run.spend(3, "starting")
    run.event("attempt-ended", attempt=0, exit_code=1, reason="exit code 1")
    run.spend(2, "down")
    run.launch()
    run.live()
    run.train()
    run.close(finished=True)
    run.end("finished")
    summary = call("status", run.path)["data"]["summary"]
    assert summary["restarts"] == 1
    assert summary["account"] == pytest.approx(run.ledger, abs=1e-5)
