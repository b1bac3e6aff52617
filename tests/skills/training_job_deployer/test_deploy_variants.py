"""`run job.yaml -- ARGUMENTS` is a run of its own; `compare` lays runs over each other; the newest run is meant where none is named."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deployer_calls import DEPLOY, Project, deploy, wait_for
from deployer_cluster_calls import ClusterProject


def test_arguments_after_the_dashes_make_a_run_of_their_own_and_the_same_call_goes_on_with_it(project: Project) -> None:
    deploy("run", project.job)
    more = deploy("run", project.job, "--", "--loss", "9")
    assert (more.exit_code, more.data["name"], more.data["state"]) == (0, "toy-2", "finished")
    record = json.loads((project.run_dir.parent / "toy-2" / "run.json").read_text())
    assert (record["name"], record["added"], record["job"]["run"]) == (
        "toy-2",
        ["--loss", "9"],
        "python train.py --steps 3 --loss 9",
    )
    again = deploy("run", project.job, "--", "--loss", "9")
    assert (again.data["name"], again.document["changed"], len(project.starts())) == ("toy-2", [], 2)
    other = deploy("run", project.job, "--", "--loss", "8")
    assert (other.data["name"], len(project.starts())) == ("toy-3", 3)
    rows = deploy("list", project.job).data["runs"]
    assert {row["run"]: row["note"] for row in rows} == {"toy": None, "toy-2": "-- --loss 9", "toy-3": "-- --loss 8"}


def test_a_run_with_arguments_is_looked_at_stopped_and_resumed_by_its_name(project: Project) -> None:
    detached = deploy("run", project.job, "--detach", "--", "--until-told", cwd=project.folder)
    assert detached.document["next"][0].endswith("status toy-2")
    assert deploy("status", "toy-2", cwd=project.folder).data["name"] == "toy-2"
    assert deploy("stop", "toy-2", cwd=project.folder).data["state"] == "stopped"
    project.let_it_end()
    resumed = deploy("resume", "toy-2", cwd=project.folder)
    assert (resumed.data["state"], resumed.data["step"]) == ("finished", 3)
    assert json.loads((project.run_dir.parent / "toy-2" / "run.json").read_text())["added"] == ["--until-told"]


def test_fresh_keeps_the_arguments(project: Project) -> None:
    deploy("run", project.job, "--", "--loss", "9")
    fresh = deploy("run", project.job, "--fresh", "--", "--loss", "9")
    assert (fresh.exit_code, fresh.data["name"]) == (0, "toy-2")
    assert json.loads((project.run_dir.parent / "toy-2" / "run.json").read_text())["added"] == ["--loss", "9"]


def test_a_plan_or_a_dry_run_takes_no_number(project: Project) -> None:
    assert deploy("plan", project.job, "--", "--loss", "9").data["name"] == "toy-2"
    dry = deploy("run", project.job, "--dry-run", "--", "--loss", "8")
    assert dry.data["command"].endswith("--loss 8")
    assert not (project.folder / ".trainyard").exists()


def test_calls_at_once_take_a_number_each_and_the_same_call_takes_one(project: Project) -> None:
    def start(loss: int) -> str:
        return str(deploy("run", project.job, "--detach", "--", "--loss", str(loss)).data["name"])

    with ThreadPoolExecutor(6) as pool:
        names = list(pool.map(start, [1, 2, 3, 1, 2, 3]))
    assert names[:3] == names[3:] and len(set(names)) == 3
    for name in set(names):
        deploy("watch", project.run_dir.parent / name)
    assert len(project.starts()) == 3


@pytest.mark.parametrize(
    ("words", "told"),
    [(["foo"], "unexpected: foo"), (["--", "--token", "hf_abcdefghijklmnopqrstuvwxyz0123456789"], "secret")],
)
def test_arguments_that_cannot_be_meant_are_refused(project: Project, words: list[str], told: str) -> None:
    refused = deploy("run", project.job, *words)
    assert refused.exit_code == 2 and told in json.dumps(refused.document)
    assert not (project.folder / ".trainyard").exists()


def test_two_long_names_that_are_cut_to_the_same_one_stay_two_runs(project: Project) -> None:
    names = []
    for last in "ab":
        project.write_job(name="n" * 39 + last)
        names.append(deploy("run", project.job, "--", "--loss", "9").data["name"])
    assert names == ["n" * 38 + "-2", "n" * 38 + "-3"] and len(project.starts()) == 2


def test_a_name_that_another_job_has_is_passed_over(project: Project) -> None:
    project.write_job(name="toy-2")
    deploy("run", project.job)
    project.write_job()
    assert deploy("run", project.job, "--", "--loss", "9").data["name"] == "toy-3"


def test_a_run_is_not_named_and_the_one_started_last_is_meant(project: Project) -> None:
    assert deploy("status", cwd=project.folder).error["code"] == "not-found"
    deploy("run", project.job)
    deploy("run", project.job, "--", "--loss", "9")
    for verb in ("status", "why", "logs"):
        assert deploy(verb, cwd=project.folder).exit_code == 0
    assert deploy("status", cwd=project.folder).data["name"] == "toy-2"
    for verb in ("stop", "resume", "run"):
        assert deploy(verb, cwd=project.folder).exit_code == 2, "what changes a run has to name it"


def test_two_runs_are_drawn_over_each_other(project: Project) -> None:
    deploy("run", project.job)
    deploy("run", project.job, "--", "--loss", "9", "--steps", "5")
    answer = deploy("compare", project.run_dir, project.run_dir.parent / "toy-2", "--output", project.folder / "c.html")
    first, second = answer.data["runs"]
    assert (first["run"], first["steps"], second["run"], second["steps"]) == ("toy", 3, "toy-2", 5)
    assert (
        answer.data["common_step"] == 3 and first["loss_at"] == first["last_loss"] != second["loss_at"] != second["last_loss"]
    )
    assert answer.data["differs"] == [{"run": "toy", "words": ""}, {"run": "toy-2", "words": "--loss 9 --steps 5"}]
    assert "A" in "".join(answer.data["chart"]) and "B" in "".join(answer.data["chart"])
    page = (project.folder / "c.html").read_text()
    assert page.count("<svg") >= 2 and "toy-2" in page and "<script" not in page


def test_compare_never_writes_over_what_is_not_its_own_and_needs_two_runs(project: Project) -> None:
    deploy("run", project.job)
    mine = project.folder / "mine.html"
    mine.write_text("mine")
    assert deploy("compare", project.run_dir, project.run_dir, "--output", mine).exit_code == 5
    assert mine.read_text() == "mine"
    assert deploy("compare", project.run_dir).exit_code == 2


def test_without_a_terminal_a_restart_is_told_with_its_reason(project: Project) -> None:
    project.write_job(run="python train.py --steps 4 --fault raise --at 3 --times 1")
    done = subprocess.run([sys.executable, str(DEPLOY), "run", str(project.job)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "restart 1 of 3: " in done.stderr and "sample 17 has no labels" in done.stderr


def test_a_failed_run_ends_with_the_scripts_own_traceback(project: Project) -> None:
    script = Path(project.folder / "src" / "bad.py")
    launcher = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
    script.write_text(
        "import sys\n"
        "print('begins')\n"
        "print('Traceback (most recent call last):\\n  File \"x.py\", line 3, in <module>\\nNameError: name is not defined')\n"
        "print('E1128 14:31:29.646000 9712 torch/distributed/elastic/multiprocessing/api.py:1] failed (exitcode: 1)')\n"
        "print('Traceback (most recent call last):\\n  File \"/bin/torchrun\", line 8')\n"
        f"print('{launcher}:\\n' + '\\n'.join('=' * 60 for _ in range(30)))\n"
        "sys.exit(1)\n"
    )
    project.write_job(run="python bad.py", monitor={"max_restarts": 0})
    tail = deploy("run", project.job).data["log_tail"]
    assert tail[-1] == "NameError: name is not defined" and not any("torchrun" in line or "====" in line for line in tail)


def test_a_stop_that_the_cluster_did_not_take_is_tried_again(eks: ClusterProject) -> None:
    eks.write_job(budget={"max_hours": 0.0002})
    eks.say(state="running", answers={"delete": {"error": "unreachable"}})
    with eks.running() as process:
        wait_for(lambda: len(eks.calls("delete")) >= 2, "a second try")
        eks.say(answers={})
        output, _ = process.communicate(timeout=90)
    assert json.loads(output)["data"]["state"] == "stopped"


def test_on_a_cluster_whoever_watches_stops_a_run_whose_hours_are_over(eks: ClusterProject) -> None:
    eks.write_job(budget={"max_hours": 0.0002})
    eks.say(state="running")
    ended = eks.deploy("run", "--yes")
    assert (ended.exit_code, ended.data.get("state")) == (1, "stopped"), ended.document
    assert "stopped by budget.max_hours" in ended.data["reason"]
    assert eks.calls("delete"), "the job's object is gone"
    refused = eks.deploy("resume")
    assert (refused.exit_code, "is used up" in refused.error["message"]) == (5, True)
    eks.write_job(budget={"max_hours": 5})
    eks.say(state="finished")
    assert eks.deploy("resume", "--accept-changes", "--yes").exit_code == 0
