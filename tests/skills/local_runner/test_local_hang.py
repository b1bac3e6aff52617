"""A hang is acted on and a run that somebody paused is left alone: real processes, with limits of seconds."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

SOON = ["--hang-after-s", "4"]
"""The shortest that a busy machine keeps apart from a start of Python."""


def ended_as_hung(run, wait_for) -> str:
    """The reason, once the attempt was ended and the next one has finished the run."""
    wait_for(lambda: run.runner()["state"] in ("finished", "failed"), "the end of the run")
    assert (run.runner()["state"], run.runner()["restarts"], run.runner()["max_restarts"]) == ("finished", 1, 3)
    (hang,) = run.events("hang")
    first, second = run.events("attempt-ended")
    assert (hang["attempt"], hang["action"], hang["reason"]) == (0, "restart", first["reason"])
    assert first["exit_code"] != 0 and second["exit_code"] == 0
    stacks = (run.folder / hang["stacks"]).read_text()
    assert all(f"rank {rank}, pid {pid} ===" in stacks for rank, pid in hang["pids"].items())
    return str(hang["reason"])


def test_each_kind_of_hang_is_ended_with_its_reason_and_counted(run, wait_for):
    kinds = {
        "stopped": (["steps", "sleep"], "hang: rank 1 (pid "),
        "gone": (["exit", "sleep"], "hang: rank 0"),
        "no-step": (["some", "words"], "hang: no step for"),
        "no-output": (["sleep"], "hang: no output for"),
    }
    runs = {name: run.beside(name) for name in kinds}
    for name, each in runs.items():
        each.submit(*SOON, job=["python", "moods.py", *kinds[name][0]])
    os.kill(runs["stopped"].pid("1"), signal.SIGSTOP)
    for name, each in runs.items():
        assert ended_as_hung(each, wait_for).startswith(kinds[name][1])
    assert "has been stopped for" in runs["stopped"].events("hang")[0]["reason"]
    assert "state T" in (runs["stopped"].folder / "logs/attempt-0000.stacks.txt").read_text()
    assert "is gone" in runs["gone"].events("hang")[0]["reason"]


def test_a_run_that_somebody_paused_is_reported_and_left_alone(run, wait_for):
    alone, together, watched = run.beside("alone"), run.beside("together"), run.beside("watched")
    alone.submit(*SOON, job=["python", "moods.py", "words"])
    together.submit(*SOON, job=["python", "moods.py", "steps", "steps"])
    pids = [alone.pid("0"), together.pid("0"), together.pid("1")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    watched.submit(*SOON, "--hang", "report", job=["python", "moods.py", "some"])
    wait_for(lambda: watched.events("hang"), "the hang that is only reported")
    # It began after the others were stopped: they have been stopped for longer than the limit.
    for each in (alone, together):
        wait_for(lambda each=each: each.events("paused"), "the pause")
        assert not each.events("hang") and each.runner()["state"] == "running"
        who = "the process (pid" if each is alone else "rank 0 (pid"
        assert f"paused by somebody: {who}" in each.status()["reason"]
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    for each in (alone, together):
        wait_for(lambda each=each: each.events("goes-on"), "the end of the pause")
        wait_for(lambda each=each: each.runner()["reason"] is None, "a run without a reason")
        assert len(each.events("attempt")) == 1
    (hang,) = watched.events("hang")
    assert hang["action"] == "report" and watched.runner()["state"] == "running"
    assert "only reported" in watched.status()["reason"] and not watched.events("attempt-ended")
    for each in (alone, together, watched):
        each.stop("--now")


def test_a_stopped_rank_of_a_real_process_group_is_restarted(run, wait_for):
    run.submit("--procs", "2", "--hang-after-s", "10", job=["torchrun", "stop_one.py"])
    stopped = run.pid("1")
    wait_for(lambda: "step 20 " in run.log(0), "some steps")
    os.kill(stopped, signal.SIGSTOP)
    reason = ended_as_hung(run, wait_for)
    assert f"rank 1 (pid {stopped}) " in reason and "stopped" in reason
    assert "step 4 " in run.log(1)


def test_without_the_monitor_output_is_what_counts(run, wait_for, tmp_path):
    runs = {monitor: run.beside(monitor) for monitor in ("absent", "odd", "slow")}
    for monitor, each in runs.items():
        skills = tmp_path / monitor / "skills"
        each.program = skills / "local-runner" / "src" / run.program.name
        shutil.copytree(run.program.parent, each.program.parent)
        if monitor != "absent":
            other = skills / "monitor" / "src" / "monitor_training.py"
            other.parent.mkdir(parents=True)
            other.write_text("print('[' * 100000)" if monitor == "odd" else "import time; time.sleep(600)")
        each.folder = tmp_path / monitor / "a-run"
        each.submit(*SOON, job=["python", "moods.py", "some"])
    for monitor, each in runs.items():
        assert ended_as_hung(each, wait_for).startswith("hang: no output for"), monitor
    for monitor in ("absent", "odd"):
        assert "a hang is judged by output" in (runs[monitor].folder / "supervisor.log").read_text()


def test_a_run_of_a_version_without_this_goes_on(run):
    job = ["python", "-c", "raise SystemExit(3)"]
    run.submit("--max-restarts", "0", job=job)
    assert run.wait().code == 1
    path = Path(run.folder, "runner-spec.json")
    stored = json.loads(path.read_text())
    assert (stored.pop("hang"), stored.pop("hang_after_s")) == ("restart", None)
    path.write_text(json.dumps(stored))
    assert "--hang restart --hang-after-s auto" in run.call("status", str(run.folder)).document["next"][-1]
    again = run.submit("--max-restarts", "0", "--resume", job=job)
    assert (again.code, run.wait().data["attempt"]) == (0, 1)
    other = run.submit("--max-restarts", "0", "--hang", "report", "--resume", job=job)
    assert (other.code, other.error["message"].endswith("another hang")) == (5, True)


def test_what_a_run_learned_about_its_pauses_is_kept(run, wait_for):
    run.submit(job=["python", "moods.py", "words"])
    run.stop("--now")
    path = Path(run.folder, "runner.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"longest_pause_s": 1234.5}))
    run.submit("--resume", job=["python", "moods.py", "words"])
    wait_for(lambda: run.runner()["state"] == "finished", "the end")
    assert run.runner()["longest_pause_s"] == 1234.5


@pytest.mark.parametrize(("option", "value"), [("--hang", "ignore"), ("--hang-after-s", "soon"), ("--hang-after-s", "0")])
def test_an_option_that_means_nothing_is_refused(run, option, value):
    assert run.submit(option, value, job=["python", "moods.py", "words"]).code == 2
