"""Stop: time to save, then nothing of the run lives; and nothing else is touched."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess

import pytest

FAMILY = ["python", "family.py"]


@pytest.mark.parametrize("kind", ["child", "grandchild", "daemon", "wiped", "deaf-daemon"])
def test_stop_leaves_no_relative_of_the_job(run, is_alive, kind):
    run.submit("--stop-grace-s", "1", job=[*FAMILY, "--relative", kind])
    pids = [run.pid("relative"), run.pid("job")]
    assert all(map(is_alive, pids)), "the control: they do live"
    stopped = run.stop()
    assert (stopped.code, stopped.data["state"]) == (0, "stopped")
    assert not any(map(is_alive, pids))
    assert run.processes() == set()


def test_a_job_gets_its_grace_to_save_and_its_exit_code_is_kept(run):
    run.submit("--stop-grace-s", "30", job=[*FAMILY, "--saves"])
    run.pid("job")
    stopped = run.stop()
    assert (stopped.data["state"], stopped.data["exit_code"]) == ("stopped", 143)
    assert (run.folder / "saved").exists()
    assert [event["type"] for event in run.all_events()][-3:] == ["stop-requested", "attempt-ended", "run-ended"]


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(run, is_alive):
    run.submit("--stop-grace-s", "1", job=[*FAMILY, "--deaf"])
    job = run.pid("job")
    stopped = run.stop()
    assert (stopped.data["state"], stopped.data["exit_code"]) == ("stopped", -9)
    assert not is_alive(job)


def test_stop_now_gives_no_grace(run):
    run.submit("--stop-grace-s", "3600", job=[*FAMILY, "--deaf"])
    run.pid("job")
    assert run.stop("--now").data["state"] == "stopped"
    assert run.processes() == set()


def test_an_exit_code_of_0_after_stop_does_not_mean_finished(run):
    run.submit(job=[*FAMILY, "--saves", "--then", "0"])
    run.pid("job")
    stopped = run.stop()
    assert (stopped.data["state"], stopped.data["exit_code"]) == ("stopped", 0)


def test_stop_again_changes_nothing_and_a_finished_run_stays_finished(run):
    run.submit(job=["python", "attempts.py", "0"])
    run.wait()
    for _ in range(2):
        again = run.stop()
        assert (again.code, again.data["state"], again.document["changed"]) == (0, "finished", [])


def test_stop_ends_a_back_off_at_once(run, wait_for):
    run.submit("--backoff-s", "60", job=["python", "attempts.py", "1"])
    wait_for(lambda: run.runner()["state"] == "backing-off" and run.runner()["restarts"] == 2, "the back-off")
    assert run.stop().data["state"] == "stopped"
    assert len(run.events("attempt")) == 2, "the first restart comes at once"


def test_stop_dry_run_says_what_would_end_and_ends_nothing(run, is_alive):
    run.submit(job=FAMILY)
    job = run.pid("job")
    planned = run.stop("--dry-run")
    assert str(job) in planned.data["would"][0] and planned.document["changed"] == []
    assert is_alive(job)


def test_stop_touches_no_process_of_another_run_or_of_none(run, is_alive):
    strangers = [
        subprocess.Popen(["sleep", "600"], env={**run.environ, **more})
        for more in ({}, {"TRAINYARD_RUN_ID": secrets.token_hex(8)}, {"NOTE": f"TRAINYARD_RUN_ID={run.run_id}"})
    ]
    run.submit(job=FAMILY)
    run.pid("job")
    run.stop()
    assert all(is_alive(stranger.pid) for stranger in strangers)
    for stranger in strangers:
        stranger.kill()
        stranger.wait()


def test_sigterm_to_the_supervisor_ends_the_job_but_is_not_called_a_stop(run):
    run.submit(job=[*FAMILY, "--saves"])
    run.pid("job")
    os.kill(run.runner()["supervisor"]["pid"], signal.SIGTERM)
    data = run.wait().data
    assert data["state"] == "failed" and "SIGTERM" in data["reason"]
    assert (run.folder / "saved").exists() and run.processes() == set()


@pytest.mark.parametrize("verb", ["status", "logs", "wait", "stop"])
def test_a_folder_without_a_run_is_not_found(run, verb):
    refused = run.call(verb, str(run.folder))
    assert (refused.code, refused.error["code"]) == (3, "not-found")
    assert refused.error["hint"]
