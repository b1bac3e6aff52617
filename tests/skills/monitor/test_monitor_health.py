"""`health`: unknown is never healthy, and each failure names itself."""

from __future__ import annotations

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
    assert statuses(call("health", fresh.path, "--stall-factor", 1000, code=1))["saves.failing"] == "fail"
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


def test_a_file_of_another_tool_fails(fresh: RunWriter) -> None:
    (fresh.path / "steps.jsonl").write_text('{"epoch": 1, "accuracy": 0.5}\n' * 10)
    found = statuses(call("health", fresh.path, code=1))
    assert found["files.readable"] == "fail" and found["loss.finite"] == "unknown"


def test_a_record_from_the_future_warns_and_ages_come_from_the_file(fresh: RunWriter) -> None:
    fresh.now += 3600
    fresh.train()
    answer = call("health", fresh.path)
    assert statuses(answer)["clock.order"] == "warn" and statuses(answer)["progress.stalled"] == "pass"
