"""Restarts: a dead job comes back, as often as allowed, and never beside its own leftovers."""

from __future__ import annotations

import os
import signal
import sys

import pytest

FAMILY = ["python", "family.py"]


def test_a_killed_job_is_started_again_and_may_finish(run):
    run.submit(job=["python", "attempts.py", "wait", "0"])
    os.kill(run.launcher(), signal.SIGKILL)
    done = run.wait()
    assert (done.code, done.data["state"], done.data["restarts"], done.data["attempt"]) == (0, "finished", 1, 1)
    ended = run.events("attempt-ended")
    assert [event["exit_code"] for event in ended] == [-9, 0]
    assert "SIGKILL" in ended[0]["reason"]
    assert run.events("restart-scheduled")[0]["restarts"] == 1


@pytest.mark.parametrize("allowed", [0, 2])
def test_max_restarts_is_honoured_to_the_number(run, allowed):
    run.submit("--max-restarts", str(allowed), job=["python", "attempts.py", "3"])
    done = run.wait()
    assert (done.code, done.data["state"], done.data["exit_code"]) == (1, "failed", 3)
    assert done.data["restarts"] == allowed
    assert len(run.events("attempt")) == allowed + 1
    assert f"max_restarts ({allowed}) is used up" in done.data["reason"]


def test_the_first_restart_comes_at_once_and_the_delay_of_the_others_doubles(run):
    run.submit("--backoff-s", "0.02", "--max-restarts", "3", job=["python", "attempts.py", "1"])
    run.wait()
    assert [event["delay_s"] for event in run.events("restart-scheduled")] == [0, 0.02, 0.04]


def test_exit_codes_and_signals_are_told_in_words(run):
    told = {
        1: "an error; the log has it",
        127: "command not found",
        137: "a child was killed by SIGKILL",
        143: "before the work was finished",
        -9: "memory ran out",
        -11: "SIGSEGV",
        -7: "/dev/shm",
        77: "exited with 77",
    }
    run.submit("--backoff-s", "0", "--max-restarts", "7", job=["python", "attempts.py", *map(str, told)])
    last = run.wait().data
    assert (last["state"], last["exit_code"]) == ("failed", 77) and "exited with 77" in last["reason"]
    ended = {event["exit_code"]: event["reason"] for event in run.events("attempt-ended")}
    assert ended.keys() == told.keys()
    assert all(told[code] in reason for code, reason in ended.items()), ended


def test_a_command_that_has_vanished_fails_without_another_try(run, tmp_path):
    program = tmp_path / "job"
    program.write_text(f"#!{sys.executable}\nimport os\nos.remove(__file__)\nraise SystemExit(1)\n")
    program.chmod(0o755)
    run.submit(job=[str(program)])
    data = run.wait().data
    assert data["state"] == "failed" and "could not be started" in data["reason"]


def test_what_a_dead_job_left_behind_ends_before_the_next_start(run, is_alive):
    run.submit(job=["python", "attempts.py", "leave3", "wait"])
    daemon = run.pid("job")
    run.wait_for_log(1)
    assert not is_alive(daemon)
    assert run.status()["state"] == "running"


def test_what_a_finished_job_left_behind_ends_with_it(run, is_alive):
    run.submit(job=["python", "attempts.py", "leave0"])
    daemon = run.pid("job")
    assert run.wait().data["state"] == "finished"
    assert not is_alive(daemon)
    assert run.processes() == set()


def test_a_torn_last_event_does_not_swallow_the_next(run):
    run.submit(job=["python", "attempts.py", "wait", "0"])
    launcher = run.launcher()
    with (run.folder / "events.jsonl").open("a") as file:
        file.write('{"time": 1.0, "type": "com')
    os.kill(launcher, signal.SIGKILL)
    run.wait()
    lines = (run.folder / "events.jsonl").read_text().splitlines()
    assert [line for line in lines if not line.endswith("}")] == ['{"time": 1.0, "type": "com']
