"""What is found before a run, and what is told of one; skills that are missing or broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from deployer_calls import DEADLINE_S, DEPLOY, ROOT, Project, deploy

SKILLS = ROOT / "skills"
IGNORED = shutil.ignore_patterns("__pycache__", ".mypy_cache")


def test_a_plan_names_stages_programs_and_cost_and_writes_nothing(project: Project) -> None:
    plan = deploy("plan", project.job)
    assert plan.exit_code == 0
    assert [stage["stage"] for stage in plan.data["stages"]] == ["check", "submit", "watch", "report"]
    assert plan.data["cost_usd"] == 0
    assert plan.data["run_dir"] == str(project.run_dir)
    assert not (project.folder / ".trainyard").exists()


@pytest.mark.parametrize(
    ("change", "check", "told"),
    [
        ({"run": "python gone.py"}, "script", "no file gone.py"),
        ({"python": "./no-python"}, "python", "no such file"),
        ({"python": "/bin/true"}, "python", "not a Python interpreter"),
        ({"run": "torchrun -m no_such_module"}, "python.no_such_module", "no module"),
        ({"secrets": {"NOT_SET_TOKEN": "a/b"}}, "secret.NOT_SET_TOKEN", "is not set"),
    ],
)
def test_a_problem_is_found_beforehand(project: Project, change: dict[str, object], check: str, told: str) -> None:
    project.write_job(**change)  # type: ignore[arg-type]
    plan = deploy("plan", project.job)
    assert plan.exit_code == 1
    assert plan.check(check)["status"] == "fail"
    assert told in plan.check(check)["summary"]


def test_the_skill_alone_says_which_neighbour_is_missing(project: Project, tmp_path: Path) -> None:
    alone = tmp_path / "elsewhere" / "training-job-deployer"
    shutil.copytree(DEPLOY.parents[1], alone, ignore=IGNORED)
    refused = deploy("run", project.job, program=alone / "src" / "deploy.py")
    assert (refused.exit_code, "local-runner" in refused.error["message"]) == (8, True)


def test_keys_that_local_does_not_use_are_told(project: Project) -> None:
    project.write_job(image={"uri": "repo@sha256:0"}, network="efa")
    assert deploy("plan", project.job).check("job.ignored")["summary"] == "not used on local: image, network"


@pytest.mark.parametrize("broken", ["print('no json')", None])
def test_status_is_unknown_never_healthy_when_the_monitor_does_not_answer(
    project: Project, tmp_path: Path, broken: str | None
) -> None:
    skills = tmp_path / "skills"
    for name in ("training-job-deployer", "local-runner"):
        shutil.copytree(SKILLS / name, skills / name, ignore=IGNORED)
    if broken:
        (skills / "monitor" / "src").mkdir(parents=True)
        (skills / "monitor" / "src" / "monitor_training.py").write_text(broken)
    assert deploy("run", project.job).exit_code == 0
    status = deploy("status", project.job, program=skills / "training-job-deployer" / "src" / "deploy.py")
    assert status.data["state"] == "finished"
    assert status.data["health"] == "unknown"
    assert [concern["id"] for concern in status.data["concerns"]] == ["monitor"]


def test_for_people_status_is_one_screen_with_the_state_first(project: Project) -> None:
    assert deploy("run", project.job).exit_code == 0
    command = [sys.executable, str(DEPLOY), "status", str(project.job), "--format", "table"]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True).stdout.splitlines()
    assert [line.split()[:2] for line in lines[:2]] == [["name", "toy"], ["state", "finished"]]
    assert len(lines) <= 24 and lines[2].startswith("line ") and not any(line.rstrip().endswith("  -") for line in lines), lines


def test_a_run_is_found_by_name_by_folder_and_in_another_state_folder(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    run_id = deploy("run", project.job, "--state-dir", elsewhere).data["run_id"]
    assert not (project.folder / ".trainyard").exists()
    assert deploy("status", "toy", "--state-dir", elsewhere).data["run_id"] == run_id
    assert deploy("status", elsewhere / "runs" / "toy").data["run_id"] == run_id
    assert deploy("list", "--state-dir", elsewhere).data["total"] == 1
    missing = deploy("status", "tom", "--state-dir", elsewhere)
    assert (missing.exit_code, "there are: toy" in missing.error["message"]) == (3, True)
    assert deploy("status", project.job).exit_code == 3


def test_status_and_stop_work_while_the_job_file_is_being_edited(project: Project) -> None:
    assert deploy("run", project.job).exit_code == 0
    project.job.write_text("name: toy\nnodez: 3\n")
    status = deploy("status", project.job)
    assert (status.exit_code, status.data["health"]) in ((0, "pass"), (0, "warn"))
    assert deploy("stop", project.job).exit_code == 0
    assert deploy("run", project.job).exit_code == 2


def test_logs_stream_one_object_a_line_and_the_envelope_last(project: Project) -> None:
    deploy("run", project.job)
    done = subprocess.run(
        [sys.executable, DEPLOY, "logs", project.job, "--follow"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all("type" in line for line in lines[:-1])
    assert (lines[-1]["ok"], lines[-1]["skill"]) == (True, "training-job-deployer")
    assert "trainyard step=3" in done.stdout


def test_a_report_goes_where_it_is_wanted(project: Project) -> None:
    deploy("run", project.job)
    answer = deploy("report", project.job, "--output", "toy.html", cwd=project.folder)
    assert answer.data["path"] == str(project.folder / "toy.html")
    assert (project.folder / "toy.html").read_text().startswith("<!")


def test_a_state_folder_that_cannot_be_made_is_told(project: Project) -> None:
    (project.folder / ".trainyard").write_text("a file")
    refused = deploy("run", project.job)
    assert refused.exit_code in (1, 4)
    assert os.path.isfile(project.folder / ".trainyard")
