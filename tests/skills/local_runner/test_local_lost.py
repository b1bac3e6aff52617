"""The supervisor is killed: the run is lost or orphaned, can be cleared away, and goes on when resumed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

FAMILY = ["python", "family.py"]


def kill_supervisor(run, wait_for):
    pid = run.runner()["supervisor"]["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: pid not in run.processes(), "the supervisor's death")


def test_the_job_ends_with_its_supervisor_and_the_run_is_lost(run, wait_for):
    run.submit(job=[*FAMILY, "--saves"])
    run.pid("job")
    kill_supervisor(run, wait_for)
    done = run.wait()
    assert (done.code, done.data["state"]) == (1, "lost")
    assert (run.folder / "saved").exists(), "the launcher got SIGTERM, not SIGKILL"
    assert run.processes() == set()


def test_a_job_that_lives_on_makes_the_run_orphaned_and_stop_ends_it(run, wait_for, is_alive):
    run.submit("--stop-grace-s", "1", job=[*FAMILY, "--deaf"])
    job = run.pid("job")
    kill_supervisor(run, wait_for)
    seen = run.status()
    assert (seen["state"], seen["orphans"]) == ("orphaned", [job])
    waited = run.call("wait", str(run.folder), "--timeout", "0")
    assert waited.code == 7 and "stop" in waited.error["hint"]
    stopped = run.stop()
    assert (stopped.code, stopped.data["state"]) == (0, "stopped")
    assert not is_alive(job)
    assert run.events("run-ended")[-1]["state"] == "stopped"


def test_resume_ends_the_orphans_first_and_goes_on(run, wait_for, is_alive):
    job = [*FAMILY, "--deaf"]
    run.submit("--stop-grace-s", "1", job=job)
    orphan = run.pid("job")
    kill_supervisor(run, wait_for)
    refused = run.submit("--stop-grace-s", "1", job=job)
    assert refused.code == 5 and "orphaned" in refused.error["message"] and "--resume" in refused.error["hint"]
    assert is_alive(orphan), "without --resume nothing is touched"
    assert run.submit("--stop-grace-s", "1", "--resume", job=job).code == 0
    wait_for(lambda: run.pid("job") != orphan, "the next start")
    assert not is_alive(orphan)
    assert (run.status()["state"], run.status()["attempt"]) == ("running", 1)


def test_stop_writes_the_last_word_for_a_lost_run(run, wait_for):
    run.submit(job=FAMILY)
    run.pid("job")
    kill_supervisor(run, wait_for)
    wait_for(lambda: not run.processes(), "the job's end")
    assert run.status()["state"] == "lost"
    assert run.stop().data["state"] == "stopped"
    assert run.status()["state"] == "stopped"


def test_a_reused_pid_is_not_taken_for_the_supervisor(run, wait_for):
    run.submit(job=FAMILY)
    run.pid("job")
    kill_supervisor(run, wait_for)
    wait_for(lambda: not run.processes(), "the job's end")
    record = run.runner()
    record["supervisor"]["pid"] = os.getpid()
    (run.folder / "runner.json").write_text(json.dumps(record))
    assert run.status()["state"] == "lost"
    assert run.stop().data["state"] == "stopped", "and this test lives to tell"
    record["supervisor"]["start_time"] = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    (run.folder / "runner.json").write_text(json.dumps(record))
    assert run.status()["state"] == "running", "the control: with its start time the pid is believed"


def test_an_interrupted_submit_is_lost_and_the_same_submit_starts_it(run):
    run.submit(job=["python", "attempts.py", "0"])
    run.wait()
    for path in run.folder.iterdir():
        if path.name != "runner-spec.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert run.status()["state"] == "lost"
    again = run.submit(job=["python", "attempts.py", "0"])
    assert again.code == 0 and again.document["changed"]
    assert run.wait().data["state"] == "finished"


def test_a_resumed_run_has_its_restarts_again(run):
    job = ["python", "attempts.py", "1", "1", "1", "0"]
    run.submit("--max-restarts", "1", job=job)
    assert (run.wait().data["state"], run.status()["restarts"]) == ("failed", 1)
    run.submit("--max-restarts", "1", "--resume", job=job)
    done = run.wait()
    assert (done.data["state"], done.data["attempt"], done.data["restarts"]) == ("finished", 3, 1)


def test_the_job_ends_when_its_run_folder_is_removed(run, wait_for, is_alive):
    run.submit("--stop-grace-s", "1", job=FAMILY)
    job = run.pid("job")
    shutil.rmtree(run.folder)
    wait_for(lambda: not run.processes(), "the end of job and supervisor")
    assert not is_alive(job)
