"""`health`: unknown is never healthy, and each failure names itself."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from monitor_call import call, check, statuses
from monitor_process import RUN_ID, identity
from monitor_run_writer import RunWriter


@pytest.fixture
def fresh(tmp_path: Path) -> RunWriter:
    """A run without a supervisor whose last step has just ended."""
    run = RunWriter(tmp_path / "fresh", now=time.time() - 33)
    run.launch()
    run.live()
    for step in range(1, 51):
        run.train()
        if step % 10 == 0:
            run.commit()
    return run


def test_a_run_that_writes_steps_is_healthy(fresh: RunWriter) -> None:
    found = statuses(call("health", fresh.path, "--stall-factor", 1000))
    assert set(found.values()) <= {"pass", "skipped"}
    assert found["run.state"] == found["progress.stalled"] == found["checkpoint.age"] == "pass"


def test_the_same_run_stalls_when_no_step_comes(living_run: RunWriter) -> None:
    answer = call("health", living_run.path, code=1)
    stalled = check(answer, "progress.stalled")
    assert stalled["status"] == "fail" and "limit 5 s" in stalled["evidence"] and stalled["fix"]
    assert statuses(answer)["process.alive"] == "pass"
    assert statuses(call("health", living_run.path, "--stall-factor", 10_000))["progress.stalled"] == "pass"


def test_a_start_without_a_step_is_unknown_then_a_failure(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", now=time.time() - 30)
    run.launch()
    assert statuses(call("health", run.path, code=1))["progress.stalled"] == "unknown"
    assert statuses(call("health", run.path, "--start-limit-s", 10, code=1))["progress.stalled"] == "fail"


def test_a_restart_that_has_not_stepped_yet_is_no_stall(fresh: RunWriter) -> None:
    fresh.die_inside_attempt(until_restart_s=0.5)
    fresh.live(at=50)
    assert statuses(call("health", fresh.path, code=1))["progress.stalled"] == "unknown"


@pytest.mark.parametrize(("state", "code", "status"), [("finished", 0, "pass"), ("stopped", 0, "warn"), ("failed", 1, "fail")])
def test_an_ended_run_is_judged_by_its_end(fresh: RunWriter, state: str, code: int, status: str) -> None:
    fresh.runner(state)
    found = statuses(call("health", fresh.path, code=code))
    assert found["run.state"] == status and found["progress.stalled"] == "skipped"


def test_a_lost_run_fails(fresh: RunWriter) -> None:
    gone = identity(1) | {"start_time": 10**15}
    fresh.runner("running", run_id=RUN_ID, supervisor=gone, launcher=gone)
    found = statuses(call("health", fresh.path, code=1))
    assert found["run.state"] == found["process.alive"] == "fail"


def test_what_is_lost_begins_again_where_nothing_was_saved(tmp_path: Path, fresh: RunWriter) -> None:
    gone = identity(1) | {"start_time": 10**15}
    fresh.runner("running", run_id=RUN_ID, supervisor=gone)
    assert "from its newest checkpoint, step 50" in check(call("health", fresh.path, code=1), "run.state")["fix"]
    unsaved = RunWriter(tmp_path / "unsaved", now=time.time() - 9)
    unsaved.launch()
    unsaved.live()
    unsaved.train()
    unsaved.runner("running", run_id=RUN_ID, supervisor=gone)
    assert "begins again at step 0: nothing" in check(call("health", unsaved.path, code=1), "run.state")["fix"]


def test_a_copy_of_a_run_says_where_the_run_is(fresh: RunWriter, tmp_path: Path) -> None:
    fresh.runner("running", run_id=RUN_ID, supervisor=identity(1) | {"start_time": 10**15})
    spec = json.dumps({"run_id": RUN_ID, "folder": str(fresh.path)})
    (fresh.path / "runner-spec.json").write_text(spec)
    assert check(call("health", fresh.path, code=1), "run.state")["summary"] == "the run is lost"
    copy = shutil.copytree(fresh.path, tmp_path / "copy")
    answer = call("health", copy, code=1)
    state = check(answer, "run.state")
    assert (state["status"], "is a copy" in state["summary"]) == ("unknown", True)
    assert str(fresh.path) in state["evidence"] and str(fresh.path) in state["fix"] and "resume" not in state["fix"]
    assert statuses(answer)["process.alive"] == "skipped"


def test_a_run_that_was_stopped_at_its_very_end_is_not_called_unfinished(fresh: RunWriter) -> None:
    fresh.runner("stopped")
    assert "before its end" in check(call("health", fresh.path), "run.state")["fix"]
    fresh.close(finished=True)
    fresh.runner("stopped")
    state = check(call("health", fresh.path), "run.state")
    assert (state["status"], state["fix"]) == ("pass", None) and "at its very end" in state["summary"]


def test_a_state_that_nobody_knows_is_unknown(fresh: RunWriter) -> None:
    fresh.runner("dancing")
    assert statuses(call("health", fresh.path, code=1))["run.state"] == "unknown"


def test_an_empty_run_is_never_healthy(tmp_path: Path) -> None:
    for name in ("run.json", "steps.jsonl", "events.jsonl"):
        (tmp_path / name).touch()
    found = statuses(call("health", tmp_path, code=1))
    assert found["run.state"] == found["loss.finite"] == found["progress.stalled"] == "unknown"


def test_a_loss_that_became_nan_fails_and_one_that_came_back_warns(fresh: RunWriter) -> None:
    for _ in range(3):
        fresh.train(loss="nan")
    bad = check(call("health", fresh.path, "--stall-factor", 1000, code=1), "loss.finite")
    assert bad["status"] == "fail" and "since step 51" in bad["evidence"]
    fresh.train()
    assert statuses(call("health", fresh.path, "--stall-factor", 1000))["loss.finite"] == "warn"


def test_nan_losses_name_their_first_step_and_what_there_is_to_go_back_to(fresh: RunWriter, tmp_path: Path) -> None:
    fresh.train(loss="nan")
    assert "`best` or another step before 51" in check(call("health", fresh.path, code=1), "loss.finite")["fix"]
    unsaved = RunWriter(tmp_path / "unsaved", now=time.time() - 4000)
    unsaved.launch()
    unsaved.live()
    for step in range(1, 3001):
        if step > 4:
            unsaved.event("nan-loss", step=step)
        unsaved.train(**({"loss": "nan"} if step > 4 else {}))
    assert (unsaved.path / "steps.jsonl").stat().st_size > 256 << 10, "the row began before the lines that are read"
    unsaved.runner("failed")
    answer = call("health", unsaved.path, code=1)
    loss = check(answer, "loss.finite")
    assert loss["evidence"] == "since step 5" and "no checkpoint to go back to" in loss["fix"] and "best" not in loss["fix"]
    for name in ("checkpoint.age", "restart.point"):
        assert check(answer, name)["status"] == "warn" and "rolling_steps" not in check(answer, name)["fix"]


def test_an_overdue_checkpoint_warns_then_fails(fresh: RunWriter) -> None:
    for _ in range(25):
        fresh.train()
    assert statuses(call("health", fresh.path, "--stall-factor", 1000))["checkpoint.age"] == "warn"
    for _ in range(20):
        fresh.train()
    assert statuses(call("health", fresh.path, "--stall-factor", 1000, code=1))["checkpoint.age"] == "fail"


@pytest.mark.parametrize("event", [{"type": "save-failed", "error": "disk full"}, {"type": "rejected", "tensors": ["w"]}])
def test_a_lost_save_fails_until_one_is_committed(fresh: RunWriter, event: dict[str, object]) -> None:
    fresh.event(str(event["type"]), step=50, **{name: value for name, value in event.items() if name != "type"})
    lost = check(call("health", fresh.path, "--stall-factor", 1000, code=1), "saves.failing")
    assert lost["status"] == "fail" and ("the older checkpoints stand" in lost["fix"]) == ("error" in event)
    shutil.rmtree(fresh.path / "checkpoints")
    assert "stand" not in check(call("health", fresh.path, code=1), "saves.failing")["fix"], "there are none"
    fresh.train()
    fresh.commit()
    assert statuses(call("health", fresh.path, "--stall-factor", 1000))["saves.failing"] == "warn"


def test_checkpoints_that_could_not_be_tidied_warn_and_are_no_lost_save(fresh: RunWriter) -> None:
    fresh.train()
    fresh.commit()
    fresh.event("retention-failed", step=50, error="OSError: No space left on device")
    assert statuses(call("health", fresh.path, "--stall-factor", 1000))["saves.failing"] == "warn"


def test_a_spent_budget_warns(living_run: RunWriter, fresh: RunWriter) -> None:
    runner = (living_run.path / "runner.json").read_text()
    (fresh.path / "runner.json").write_text(runner.replace('"restarts": 0', '"restarts": 3'))
    assert statuses(call("health", fresh.path, "--stall-factor", 1000))["restarts.budget"] == "warn"


def test_the_budget_says_what_the_last_restart_was_for_and_whether_a_death_is_left(living_run: RunWriter) -> None:
    written = json.loads((living_run.path / "runner.json").read_text())
    why = "rank 1 killed by SIGKILL (9): somebody's kill -9, or the kernel when memory ran out"

    def budget(**fields: object) -> dict[str, str]:
        (living_run.path / "runner.json").write_text(json.dumps(written | fields))
        return check(call("health", living_run.path, code=1), "restarts.budget")

    used = budget(restarts=1, last_failure=why)
    assert used["summary"] == "1 of 3 restarts used; the last: rank 1 killed by SIGKILL (9)" and used["evidence"] == why
    assert "the next death ends the run" in budget(restarts=3)["summary"]
    assert "next death" not in budget(restarts=3, state="failed")["summary"]


def test_a_file_of_another_tool_fails(fresh: RunWriter) -> None:
    (fresh.path / "steps.jsonl").write_text('{"epoch": 1, "accuracy": 0.5}\n' * 10)
    found = statuses(call("health", fresh.path, code=1))
    assert found["files.readable"] == "fail" and found["loss.finite"] == "unknown"


def test_a_record_from_the_future_warns_and_ages_come_from_the_file(fresh: RunWriter) -> None:
    fresh.now += 3600
    fresh.train()
    answer = call("health", fresh.path)
    assert statuses(answer)["clock.order"] == "warn" and statuses(answer)["progress.stalled"] == "pass"
