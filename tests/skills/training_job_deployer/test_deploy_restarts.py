"""`why`, and `watch --restart`: started again where that can help, refused with the reason where it cannot, and never twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from deployer_calls import DEPLOY, Answer, Project, deploy, end, wait_for

AT_ONCE = ("--restart", "--backoff-s", "0")


def failed(project: Project, how: str) -> Answer:
    """A run that has failed, without a restart by its runner."""
    project.write_job(f"python train.py --steps 4 {how}", monitor={"max_restarts": 0})
    return deploy("run", project.job)


@contextmanager
def watching(project: Project, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(DEPLOY), "watch", str(project.job), "--restart", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        end(process)


def wait_until_said(process: subprocess.Popen[str], words: str) -> None:
    """The process goes on without anybody who reads its stderr."""
    assert process.stderr is not None
    for line in process.stderr:
        if words in line:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return
    raise AssertionError(f"never said: {words}")


def test_an_assertion_is_not_tried_again(project: Project) -> None:
    failed(project, "--fault assert --at 2")
    why = deploy("why", project.job)
    assert (why.exit_code, why.data["cause"], why.data["restart"], why.data["state"]) == (0, "assertion", "STOP", "failed")
    assert any("the tokenizer and the model differ" in line["text"] for line in why.data["lines"])
    assert "watch" not in " ".join(why.document["next"])
    answer = deploy("watch", project.job, *AT_ONCE)
    assert (answer.exit_code, answer.data["state"], answer.data["restarted"]) == (1, "failed", [])
    assert "an assertion" in answer.check("restart")["summary"] and answer.check("restart")["fix"]
    assert len(project.starts()) == 1


def test_a_rank_that_was_killed_once_goes_on_from_its_checkpoint(project: Project) -> None:
    failed(project, "--fault kill --at 3 --times 1")
    looked = deploy("watch", project.job)
    assert (looked.exit_code, len(project.starts())) == (1, 1), "without --restart it only looks"
    answer = deploy("watch", project.job, *AT_ONCE)
    assert (answer.exit_code, answer.data["state"], answer.data["step"]) == (0, "finished", 4)
    assert [(each["cause"], each["step"]) for each in answer.data["restarted"]] == [("killed", 2)]
    assert len(project.starts()) == 2
    steps = [json.loads(line)["step"] for line in (project.run_dir / "steps.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3, 4], "no step was lost, and none made twice"


def test_why_of_a_run_that_went_on_tells_what_it_has_survived(project: Project) -> None:
    project.write_job("python train.py --steps 4 --fault kill --at 3 --times 1", monitor={"max_restarts": 1})
    assert deploy("run", project.job).exit_code == 0
    why = deploy("why", project.job)
    assert (why.data["cause"], why.data["restart"]) == ("none", None)
    assert [(each["attempt"], each["cause"], each["last_step"]) for each in why.data["earlier"]] == [(0, "killed", 2)]
    first = deploy("why", project.job, "--attempt", "0")
    assert (first.exit_code, first.data["cause"], first.data["attempt"]) == (0, "killed", 0)
    newest = deploy("why", project.job, "--attempt", "1")
    assert (newest.data["cause"], newest.data["attempt"]) == ("none", 1)
    missing = deploy("why", project.job, "--attempt", "2")
    assert (missing.exit_code, "no attempt 2" in missing.error["message"]) == (3, True)
    ended = deploy("status", project.job, "--watch")
    assert (ended.exit_code, ended.data["state"], ended.data["step"]) == (0, "finished", 4), "the same as watch"


def test_the_same_step_every_time_is_given_up_by_the_ledger(project: Project) -> None:
    failed(project, "--fault raise --at 3")
    answer = deploy("watch", project.job, *AT_ONCE)
    assert (answer.exit_code, len(project.starts())) == (1, 2)
    assert "2 times without a step gained" in answer.check("restart")["summary"]
    assert deploy("why", project.job).data["restart"] == "STOP"


def test_an_end_that_nobody_can_explain_is_tried_once(project: Project) -> None:
    failed(project, "--fault exit --at 3")
    answer = deploy("watch", project.job, *AT_ONCE)
    assert (answer.exit_code, len(project.starts())) == (1, 2)
    assert "nothing says why" in answer.check("restart")["summary"]


def test_max_restarts_counts_over_calls_and_begins_anew_with_a_resume(project: Project) -> None:
    failed(project, "--fault kill --at 4 --times 3")
    answer = deploy("watch", project.job, *AT_ONCE, "--max-restarts", "1")
    assert (answer.exit_code, len(project.starts())) == (1, 2)
    assert "--max-restarts" in answer.check("restart")["summary"]
    again = deploy("watch", project.job, *AT_ONCE, "--max-restarts", "1")
    assert (again.exit_code, len(project.starts()), len(project.run_json()["restarts"])) == (1, 2, 1)
    deploy("resume", project.job)
    assert (len(project.starts()), project.run_json()["restarts"]) == (3, [])


def test_a_watcher_that_was_killed_or_ran_out_of_time_is_followed_by_another(project: Project) -> None:
    failed(project, "--fault kill --at 3 --times 1")
    with watching(project, "--backoff-s", "600") as process:
        wait_until_said(process, "started again in 600 s")
        process.kill()
    late = deploy("watch", project.job, "--restart", "--backoff-s", "600", "--timeout", "0.5")
    assert (late.exit_code, late.error["code"], "watch" in late.error["hint"]) == (7, "timeout", True)
    assert len(project.starts()) == 1
    answer = deploy("watch", project.job, *AT_ONCE)
    assert (answer.exit_code, len(answer.data["restarted"]), len(project.starts())) == (0, 1, 2)


def test_two_watchers_start_it_once(project: Project) -> None:
    failed(project, "--fault kill --at 3 --times 1")
    with watching(project, "--backoff-s", "0") as one, watching(project, "--backoff-s", "0") as other:
        answers = [json.loads(process.communicate(timeout=60)[0]) for process in (one, other)]
    assert [answer["data"]["state"] for answer in answers] == ["finished", "finished"]
    assert [len(answer["data"]["restarted"]) for answer in answers] == [1, 1]
    assert len(project.starts()) == 2


@pytest.mark.parametrize("stopped", ["before it is watched", "while a restart waits"])
def test_what_its_user_stopped_stays_so(project: Project, stopped: str) -> None:
    if stopped == "before it is watched":
        project.write_job("python train.py --steps 3 --until-told")
        deploy("run", project.job, "--detach")
        wait_for(project.starts, "the trainer's start")
        deploy("stop", project.job, "--now")
        answer = deploy("watch", project.job, *AT_ONCE)
        assert (answer.exit_code, answer.data["state"], answer.data["restarted"]) == (1, "stopped", [])
    else:
        failed(project, "--fault kill --at 3 --times 1")
        with watching(project, "--backoff-s", "600") as process:
            wait_until_said(process, "started again in 600 s")
            assert deploy("stop", project.job).exit_code == 0
            answer = json.loads(process.communicate(timeout=60)[0])
        assert (answer["data"]["state"], answer["data"]["restarted"]) == ("failed", [])
        later = deploy("watch", project.job, *AT_ONCE)
        assert (later.exit_code, later.check("restart")["status"]) == (1, "skipped")
    assert len(project.starts()) == 1


def test_a_run_whose_supervisor_died_goes_on(project: Project) -> None:
    project.write_job("python train.py --steps 3 --until-told", monitor={"stop_grace_s": 1})
    deploy("run", project.job, "--detach")
    wait_for(project.starts, "the trainer's start")
    os.kill(json.loads((project.run_dir / "runner.json").read_text())["supervisor"]["pid"], signal.SIGKILL)
    for words in ((), ("--attempt", "0")):
        assert deploy("why", project.job, *words).data["cause"] == "supervisor-lost"
    with watching(project, "--backoff-s", "0") as process:
        wait_until_said(process, "started again in 0 s")
        project.let_it_end()
        answer = json.loads(process.communicate(timeout=60)[0])
    assert (answer["data"]["state"], len(answer["data"]["restarted"]), len(project.starts())) == ("finished", 1, 2)


def test_a_run_that_hangs_and_that_nobody_ends_is_ended_with_yes_alone(project: Project) -> None:
    monitor = {"max_restarts": 0, "hang": "report", "hang_after_s": 1, "stop_grace_s": 1}
    project.write_job("python train.py --steps 3 --until-told", monitor=monitor)
    deploy("run", project.job, "--detach")
    wait_for(lambda: '"hang"' in (project.run_dir / "events.jsonl").read_text(), "the runner's word on the hang")
    asked = deploy("watch", project.job, *AT_ONCE)
    assert (asked.exit_code, asked.data["state"], asked.check("run.hung")["status"]) == (1, "running", "fail")
    assert "--yes" in asked.check("restart")["summary"] and len(project.starts()) == 1
    with watching(project, "--backoff-s", "0", "--yes") as process:
        wait_until_said(process, "started again in 0 s")
        project.let_it_end()
        answer = json.loads(process.communicate(timeout=60)[0])
    assert (answer["data"]["state"], len(answer["data"]["restarted"]), len(project.starts())) == ("finished", 1, 2)


def test_source_that_changed_meanwhile_is_not_taken_unasked(project: Project) -> None:
    failed(project, "--fault kill --at 3 --times 1")
    program = project.folder / "src" / "train.py"
    program.write_text(program.read_text() + "\n# the next experiment\n")
    answer = deploy("watch", project.job, *AT_ONCE)
    assert (answer.exit_code, len(project.starts())) == (5, 1)
    assert "resume" in answer.error["hint"]


def test_words_without_sense_and_a_run_that_is_not_there(project: Project) -> None:
    assert deploy("watch", project.job, "--yes").error["code"] == "usage"
    assert deploy("watch", project.job, "--restart").error["code"] == "not-found"
    assert deploy("why", project.job).error["code"] == "not-found"
