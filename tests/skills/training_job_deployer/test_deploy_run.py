"""run, resume, stop: one job for one run id, whoever is killed, and an answer that says what happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from deployer_calls import DEADLINE_S, DEPLOY, Project, begun, deploy, end, read, wait_for


@contextmanager
def running(project: Project, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`deploy.py run` in the background."""
    command = [sys.executable, str(DEPLOY), "run", str(project.job), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        end(process)


def answer_of(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    output, _ = process.communicate(timeout=DEADLINE_S)
    return process.returncode, json.loads(output)


def test_a_job_runs_to_its_end_and_a_second_run_says_so(project: Project) -> None:
    first = deploy("run", project.job)
    assert first.exit_code == 0, first.document
    assert (first.data["state"], first.data["step"]) == ("finished", 3)
    assert Path(first.data["report"]).exists()
    assert list(project.run_json()["stages"]) == ["check", "submit", "watch", "report"]
    again = deploy("run", project.job)
    assert (again.exit_code, again.document["changed"]) == (0, [])
    assert "already" in again.check("job.finished")["summary"]
    assert len(project.starts()) == 1


def test_the_job_gets_what_the_job_file_says_of_checkpoints(project: Project) -> None:
    project.write_job(checkpoints={"rolling_steps": 7, "keep_rolling": 2, "keep_epochs": 1}, env={"SEED": "a b=c"})
    assert deploy("run", project.job).exit_code == 0
    lines = deploy("logs", project.job).data["lines"]
    told = json.loads(next(line for line in lines if line.startswith("environment ")).removeprefix("environment "))
    assert (told["TRAINYARD_ROLLING_STEPS"], told["TRAINYARD_KEEP_ROLLING"], told["TRAINYARD_KEEP_EPOCHS"]) == ("7", "2", "1")
    assert told["TRAINYARD_RUN_ID"] == project.run_json()["run_id"]
    assert told["TRAINYARD_RUN_DIR"] == str(project.run_dir)
    assert oct(project.run_dir.stat().st_mode & 0o777) == "0o700", "nobody else looks into it"


POINTS: dict[str, Callable[[Project], bool]] = {
    "the run id is written": lambda project: bool(read(project.run_dir / "run.json")),
    "check was called": begun("check", answered=False),
    "check answered": begun("check", answered=True),
    "submit was called": begun("submit", answered=False),
    "the specification is stored": lambda project: (project.run_dir / "runner-spec.json").exists(),
    "the supervisor lives": lambda project: (project.run_dir / "runner.json").exists(),
    "submit answered": begun("submit", answered=True),
    "the trainer started": lambda project: bool(project.starts()),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_it_goes_on_and_starts_one_job(project: Project, point: str) -> None:
    project.write_job("python train.py --steps 3 --until-told")
    with running(project) as process:
        wait_for(lambda: POINTS[point](project), point)
        process.kill()
    run_id = project.run_json()["run_id"]
    project.let_it_end()
    answer = deploy("run", project.job)
    assert answer.exit_code == 0, answer.document
    assert project.starts() == [run_id]


def test_killed_between_the_end_and_the_report_the_report_is_made_up_for(project: Project) -> None:
    project.write_job("python train.py --steps 3 --until-told")
    with running(project) as process:
        wait_for(project.starts, "the trainer's start")
        process.kill()
    project.let_it_end()
    wait_for(lambda: read(project.run_dir / "runner.json").get("state") == "finished", "the end")
    assert "report" not in project.run_json()["stages"]
    assert deploy("run", project.job).exit_code == 0
    assert project.run_json()["stages"]["report"]["ended"]


def test_two_at_once_start_one_job_and_both_see_its_end(project: Project) -> None:
    project.write_job("python train.py --steps 3 --until-told")
    with running(project) as one, running(project) as other:
        wait_for(project.starts, "the trainer's start")
        project.let_it_end()
        codes = {answer_of(one)[0], answer_of(other)[0]}
    assert codes == {0}
    assert len(project.starts()) == 1


def test_fresh_starts_another_job_and_keeps_the_old_run(project: Project) -> None:
    """The negative control of the tests that count starts, too."""
    old = deploy("run", project.job).data["run_id"]
    new = deploy("run", project.job, "--fresh").data["run_id"]
    assert project.starts() == [old, new]
    aside = project.run_dir.with_name(f"toy@{old}")
    assert read(aside / "run.json")["run_id"] == old
    listed = deploy("list", project.job).data["runs"]
    assert [(row["run"], row["state"]) for row in listed] == [("toy", "finished"), (f"toy@{old}", "finished")], "newest first"
    assert [(row["step"], round(row["loss"], 3)) for row in listed] == [(3, 1.333), (3, 1.333)]
    assert all(0 <= row["seconds"] < 60 and row["started"].endswith("Z") for row in listed)
    assert deploy("status", f"toy@{old}", cwd=project.folder).data["run_id"] == old
    refused = deploy("resume", f"toy@{old}", cwd=project.folder)
    assert (refused.exit_code, "set aside" in refused.error["message"]) == (5, True)


def test_fresh_is_refused_while_the_run_lives(project: Project) -> None:
    project.write_job("python train.py --until-told")
    run_id = deploy("run", project.job, "--detach").data["run_id"]
    refused = deploy("run", project.job, "--fresh")
    assert (refused.exit_code, refused.error["code"]) == (5, "conflict")
    assert project.run_json()["run_id"] == run_id
    assert not list(project.run_dir.parent.glob("toy@*"))


def test_a_changed_input_after_the_submission_is_a_conflict_that_names_it(project: Project) -> None:
    deploy("run", project.job)
    project.write_job("python train.py --steps 4", env={"A": "b"})
    changed = deploy("run", project.job)
    assert changed.exit_code == 5
    assert "run, env" in changed.error["message"]
    assert "--fresh" in changed.error["hint"]
    project.write_job()
    (project.folder / "src" / "train.py").write_text("print('another program')\n")
    changed = deploy("run", project.job)
    assert changed.exit_code == 5
    assert "source files (train.py)" in changed.error["message"]


def test_job_files_in_the_source_folder_are_not_part_of_the_program(project: Project) -> None:
    project.write_job()
    source = project.folder / "src"
    (source / "other.yaml").write_text("name: other\nrun: python train.py\n")
    (source / "config.yaml").write_text("name: mine\nrun: python train.py\nlearning_rate: 0.1\n")
    deploy("run", project.job)
    (source / "other.yaml").write_text('{"name": "other", "run": "python train.py --steps 9", "nodes": 2}')
    (source / "third.yml").write_text("run: |\n  python train.py\nname: third\n")
    assert [check for check in deploy("plan", project.job).document["checks"] if check["id"] == "inputs.changed"] == []
    (source / "config.yaml").write_text("name: mine\nrun: python train.py\nlearning_rate: 0.2\n")
    assert "source files (config.yaml)" in deploy("plan", project.job).check("inputs.changed")["summary"]


def test_a_module_that_python_lacks_and_a_script_without_python_are_found_beforehand(project: Project) -> None:
    project.write_job("python -m nosuchmod.train")
    answer = deploy("plan", project.job)
    assert (answer.exit_code, answer.check("python.nosuchmod")["status"]) == (1, "fail")
    assert "nosuchmod.train" in answer.check("script")["summary"]
    project.write_job("train.py --steps 3")
    assert deploy("plan", project.job).check("program")["fix"] == "write `python train.py`"


def test_a_plan_that_fails_bears_no_run_id(project: Project) -> None:
    project.write_job("no-such-program")
    answer = deploy("run", project.job)
    assert (answer.exit_code, answer.data["run_id"], project.run_dir.exists()) == (1, None, False)


def test_what_the_job_itself_leaves_in_the_source_is_no_change(project: Project) -> None:
    deploy("run", project.job)
    source = project.folder / "src"
    for name in ("__pycache__/a.py", ".git/config.yaml", ".venv/x.py", "env/pyvenv.cfg", "env/x.py", "out.log", "model.bin"):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("x")
    os.utime(source / "train.py")
    assert deploy("run", project.job).exit_code == 0


def test_a_changed_input_before_the_submission_is_taken(project: Project) -> None:
    with running(project) as process:
        wait_for(lambda: POINTS["the run id is written"](project), "run.json")
        process.kill()
    if not (project.run_dir / "runner-spec.json").exists():
        project.write_job("python train.py --steps 5")
    answer = deploy("run", project.job)
    assert answer.exit_code == 0
    assert answer.data["step"] == (5 if "5" in project.job.read_text() else 3)


def test_a_failed_job_says_why_is_not_repeated_and_resumes_with_a_mended_source(project: Project) -> None:
    project.write_job("python train.py --fail", monitor={"max_restarts": 0, "hang": "report", "hang_after_s": 900})
    failed = deploy("run", project.job)
    assert (failed.exit_code, failed.document["ok"], "error" in failed.document) == (1, False, False)
    assert "3" in failed.check("job.finished")["summary"]
    assert any("trainyard step=1" in line for line in failed.data["log_tail"])
    spec = json.loads((project.run_dir / "runner-spec.json").read_text())
    assert (spec["hang"], spec["hang_after_s"]) == ("report", 900.0)
    again = deploy("run", project.job)
    assert again.exit_code == 1
    assert any(" resume " in line for line in again.document["next"])
    assert len(project.starts()) == 1
    trainer = project.folder / "src" / "train.py"
    trainer.write_text(trainer.read_text().replace("sys.exit(3)", "pass"))
    assert deploy("run", project.job).exit_code == 5
    resumed = deploy("resume", project.job)
    assert resumed.exit_code == 0, resumed.document
    assert project.starts() == [failed.data["run_id"]] * 2


def test_a_stopped_job_stays_stopped_until_it_is_resumed(project: Project) -> None:
    project.write_job("python train.py --steps 3 --until-told")
    run_id = deploy("run", project.job, "--detach").data["run_id"]
    wait_for(lambda: (project.run_dir / "checkpoints" / "stand-in.json").exists(), "a checkpoint")
    would = deploy("stop", project.job, "--dry-run")
    assert (would.exit_code, would.document["changed"]) == (0, [])
    stopped = deploy("stop", project.job)
    assert stopped.exit_code == 0
    assert Path(stopped.data["checkpoints"]).is_dir()
    again = deploy("run", project.job)
    assert again.exit_code == 1
    assert "stopped" in again.check("job.finished")["summary"]
    assert project.starts() == [run_id]
    project.let_it_end()
    assert deploy("resume", project.job).exit_code == 0
    assert project.starts() == [run_id] * 2
    assert deploy("resume", project.job).document["changed"] == []


def test_a_run_whose_supervisor_was_killed_goes_on(project: Project) -> None:
    project.write_job("python train.py --steps 3 --until-told")
    run_id = deploy("run", project.job, "--detach").data["run_id"]
    wait_for(project.starts, "the trainer's start")
    os.kill(read(project.run_dir / "runner.json")["supervisor"]["pid"], signal.SIGKILL)
    wait_for(lambda: deploy("status", project.job).data["state"] in ("lost", "orphaned"), "the loss")
    project.let_it_end()
    assert deploy("run", project.job).exit_code == 0
    assert project.run_json()["run_id"] == run_id
    assert set(project.starts()) == {run_id}


def test_watching_may_end_before_the_job_does(project: Project) -> None:
    project.write_job("python train.py --until-told")
    timed_out = deploy("run", project.job, "--timeout", "0")
    assert (timed_out.exit_code, timed_out.error["retryable"]) == (7, True)
    with running(project) as process:
        assert process.stderr is not None
        assert "watching it" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        code, document = answer_of(process)
    assert (code, document["error"]["code"]) == (7, "timeout")
    assert "status" in document["error"]["hint"]
    assert deploy("status", project.job).data["state"] == "running"
    assert len(project.starts()) == 1


def test_dry_run_makes_nothing(project: Project) -> None:
    dry = deploy("run", project.job, "--dry-run")
    assert dry.exit_code == 0
    assert dry.data["would_call"][:2] == ["run_local.py", "submit"]
    assert not (project.folder / ".trainyard").exists()


def test_a_plan_with_a_failed_check_makes_nothing(project: Project) -> None:
    project.write_job("python gone.py")
    refused = deploy("run", project.job)
    assert (refused.exit_code, refused.check("script")["status"]) == (1, "fail")
    assert not project.run_dir.exists()


def test_a_damaged_run_json_is_a_conflict_and_stays_as_it_is(project: Project) -> None:
    project.run_dir.mkdir(parents=True)
    (project.run_dir / "run.json").write_text('{"format": 1')
    refused = deploy("run", project.job)
    assert (refused.exit_code, refused.error["code"]) == (5, "conflict")
    assert (project.run_dir / "run.json").read_text() == '{"format": 1'


def test_a_first_word_that_is_not_a_program_fails_the_plan(project: Project) -> None:
    (project.job.parent / "src").joinpath("notes.txt").write_text("x")
    wrong = {"no-such-program": "there is no program", "./notes.txt": "may not be executed", "/": "is a folder"}
    for word, told in wrong.items():
        project.write_job(f"{word} --steps 4")
        answer = deploy("plan", project.job)
        check = answer.check("program")
        assert (answer.exit_code, check["status"]) == (1, "fail") and told in check["summary"] and check["fix"]
    project.write_job("sleep 1")
    assert deploy("plan", project.job).check("program")["status"] == "pass"


def test_the_plan_says_beforehand_that_a_changed_job_will_be_refused(project: Project) -> None:
    project.write_job()
    assert deploy("run", project.job).exit_code == 0
    assert not [check for check in deploy("plan", project.job).document["checks"] if check["id"] == "inputs.changed"]
    project.write_job("python train.py --steps 4")
    (warning,) = [check for check in deploy("plan", project.job).document["checks"] if check["id"] == "inputs.changed"]
    assert warning["status"] == "warn" and "--fresh" in warning["fix"]
    assert deploy("run", project.job).exit_code == 5
