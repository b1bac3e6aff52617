"""`status`: what is told of a run, and of a folder that is none."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from monitor_call import call
from monitor_process import RUN_ID, identity
from monitor_run_writer import RunWriter


@pytest.fixture
def finished(tmp_path: Path) -> RunWriter:
    run = RunWriter(tmp_path / "finished", total_steps=30)
    run.launch()
    run.live()
    for _ in range(20):
        run.train()
    run.commit()
    for _ in range(4):
        run.train()
    run.die_inside_attempt(until_restart_s=2)
    run.live(at=20)
    for _ in range(10):
        run.train()
    run.commit()
    run.close(finished=True)
    run.end("finished")
    run.runner("finished")
    return run


def test_the_summary_has_its_stable_names(finished: RunWriter) -> None:
    summary = call("status", finished.path)["data"]["summary"]
    assert summary["steps"] == summary["total_steps"] == 30
    assert (summary["first_loss"], summary["last_loss"]) == pytest.approx((5.5 / (1 + 1 / 60), 5.5 / 1.5))
    assert (summary["restarts"], summary["kills_survived"], summary["steps_repeated"]) == (1, 1, 4)
    assert summary["death_to_new_step_s"] == pytest.approx([2 + 2 + 0.5 + 0.25 + 5 * 0.5], abs=2e-3)
    assert summary["goodput"] == pytest.approx(finished.ledger["productive"] / summary["wall_s"])


def test_a_resume_by_the_user_is_a_start_and_not_a_restart(finished: RunWriter) -> None:
    finished.runner("finished", restarts=0)
    data = call("status", finished.path)["data"]
    assert (data["restarts"], data["summary"]["restarts"], data["summary"]["starts"]) == (0, 0, 2)


def test_progress_checkpoint_and_speed_are_told(finished: RunWriter) -> None:
    data = call("status", finished.path)["data"]
    assert (data["state"], data["step"], data["percent"], data["eta_s"]) == ("finished", 30, 100.0, None)
    assert data["last_checkpoint"]["step"] == 30 and data["last_checkpoint"]["age_steps"] == 0
    assert data["step_s_median"] == pytest.approx(0.5, abs=1e-3) and data["tokens_per_s"] == 2048


def test_the_age_of_a_checkpoint_is_that_of_the_newest_folder_with_a_manifest(finished: RunWriter) -> None:
    (finished.path / "checkpoints" / "step_00000030" / "manifest.json").unlink()
    (finished.path / "checkpoints" / "step_00000099.e3.tmp").mkdir()
    (finished.path / "checkpoints" / "step_00000050.aside-e3").mkdir()
    (finished.path / "checkpoints" / "step_00000050.aside-e3" / "manifest.json").touch()
    checkpoint = call("status", finished.path)["data"]["last_checkpoint"]
    assert (checkpoint["step"], checkpoint["age_steps"]) == (20, 10)


def test_checkpoints_kept_elsewhere_are_told_from_the_events(finished: RunWriter) -> None:
    (finished.path / "checkpoints").rename(finished.path.parent / "elsewhere")
    checkpoint = call("status", finished.path)["data"]["last_checkpoint"]
    assert (checkpoint["step"], checkpoint["source"]) == (30, "events.jsonl")


def test_a_run_that_lives_has_time_left(living_run: RunWriter) -> None:
    data = call("status", living_run.path)["data"]
    assert (data["state"], data["state_source"]) == ("running", "processes")
    assert data["eta_s"] == pytest.approx((400 - 20) * 0.5, rel=0.01)
    assert 60 < data["last_step_age_s"] < 600


def test_a_run_whose_processes_were_killed_is_lost(living_run: RunWriter, sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait(timeout=30)
    assert call("status", living_run.path)["data"]["state"] == "lost"


def test_a_zombie_is_dead(living_run: RunWriter, sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()  # not waited for: its entry in /proc stays
    deadline = time.monotonic() + 30
    stat = Path(f"/proc/{sleeper.pid}/stat")
    while stat.read_text().rpartition(")")[2].split()[0] != "Z" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert call("status", living_run.path)["data"]["state"] == "lost"


def test_workers_without_their_supervisor_are_orphans(living_run: RunWriter, sleeper: subprocess.Popen[bytes]) -> None:
    gone = identity(sleeper.pid) | {"start_time": 1}  # the pid lives, but it is another process
    living_run.runner("running", run_id=RUN_ID, supervisor=gone, launcher=gone)
    assert call("status", living_run.path)["data"]["state"] == "orphaned"


def test_a_process_of_another_run_does_not_keep_this_one_alive(living_run: RunWriter, sleeper: subprocess.Popen[bytes]) -> None:
    gone = identity(sleeper.pid) | {"start_time": 1}
    living_run.runner("running", run_id="b" * 16, supervisor=gone, launcher=gone)
    assert call("status", living_run.path)["data"]["state"] == "lost"


def test_another_boot_is_unknown_while_records_are_young(living_run: RunWriter, sleeper: subprocess.Popen[bytes]) -> None:
    elsewhere = identity(sleeper.pid) | {"boot_id": "00000000-0000-0000-0000-000000000000"}
    living_run.runner("running", run_id=RUN_ID, supervisor=elsewhere, launcher=elsewhere)
    assert call("status", living_run.path)["data"]["state"] == "unknown"


def test_a_run_that_has_just_begun_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    data = call("status", tmp_path)["data"]
    assert (data["state"], data["step"], data["loss"], data["last_checkpoint"]) == ("unknown", None, None, None)
    assert "no step line yet" in data["notes"]
    assert data["summary"]["goodput"] is None


def test_a_torn_last_line_is_left_out_without_a_word(finished: RunWriter) -> None:
    with (finished.path / "steps.jsonl").open("a") as file:
        file.write('{"step": 31, "time": 17900')
    data = call("status", finished.path)["data"]
    assert data["step"] == 30 and data["notes"] == []


def test_garbage_lines_are_counted_shown_and_skipped(finished: RunWriter) -> None:
    steps = finished.path / "steps.jsonl"
    steps.write_bytes(b'\xff\xfe\x00\n[1]\n{"step": "\x1b[31mred"}\n' + steps.read_bytes() + b'{"step": -4, "time": 1}\n')
    data = call("status", finished.path)["data"]
    assert data["step"] == 30 and data["summary"]["steps_repeated"] == 4
    assert any("4 of 38 lines" in note for note in data["notes"]), data["notes"]


@pytest.mark.parametrize("text", ["nan", "inf", "-inf"])
def test_a_loss_that_is_no_number_stays_readable_json(finished: RunWriter, text: str) -> None:
    finished.train(loss=text)
    data = call("status", finished.path)["data"]
    assert data["loss"] == text == data["summary"]["last_loss"]


def test_a_runner_file_that_is_no_json_makes_the_state_unknown(finished: RunWriter) -> None:
    (finished.path / "runner.json").write_text('{"state": ')
    data = call("status", finished.path)["data"]
    assert data["state"] == "unknown" and any("runner.json" in note for note in data["notes"])


def test_folders_of_another_kind_are_not_found_and_say_what_they_are(finished: RunWriter, tmp_path: Path) -> None:
    def hint(path: Path) -> str:
        error = call("status", path, code=3)["error"]
        assert error["code"] == "not-found"
        return str(error["message"] + error["hint"])

    (tmp_path / "empty").mkdir()
    assert "does not exist" in hint(tmp_path / "nowhere")
    assert "is a file" in hint(finished.path / "steps.jsonl")
    assert "steps.jsonl" in hint(tmp_path / "empty")
    assert str(finished.path) in hint(finished.path / "checkpoints")
    assert str(finished.path) in hint(tmp_path)


def test_the_whole_history_of_a_very_long_run_is_left_to_report(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", total_steps=1_000_000)
    run.launch()
    run.live()
    # A step's own keys may make its line long, so the file reaches the size of a long run with few of them.
    line = {"incarnation": 1, "loss": 2.0, "step_s": 0.5, "blocked_s": 0.0, "tokens_per_s": 2048.0, "own": "x" * 3000}
    with (run.path / "steps.jsonl").open("w") as file:
        for step in range(1, 10_001):
            file.write(json.dumps({"step": step, "time": run.now + step / 2, **line}) + "\n")
    answer = call("status", run.path)
    assert answer["data"]["step"] == 10_000 and answer["data"]["summary"] is None and answer["truncated"]
    assert any("report" in line for line in answer["next"])
