"""resume --accept-changes on this machine: the same run goes on with the job file as it is now, once, whoever is killed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from deployer_calls import DEPLOY, Project, begun, deploy, end, read, wait_for

LONGER = "python train.py --steps 5"


def test_a_finished_run_trains_longer_and_the_same_call_again_changes_nothing(project: Project) -> None:
    run_id = deploy("run", project.job).data["run_id"]
    project.write_job(LONGER)
    assert "resume" in deploy("run", project.job).error["hint"]
    assert "--accept-changes" in deploy("plan", project.job).check("inputs.changed")["fix"]
    dry = deploy("resume", project.job, "--accept-changes", "--dry-run")
    assert dry.data["request"]["run"].endswith(" 5") and "--accept-changes" in dry.data["would_call"]
    longer = deploy("resume", project.job, "--accept-changes")
    assert (longer.exit_code, longer.data["state"], longer.data["step"]) == (0, "finished", 5), longer.document
    assert longer.data["run_id"] == run_id
    lines = (project.run_dir / "steps.jsonl").read_text().splitlines()
    assert len(lines) == 5, "it went on from its newest checkpoint"
    for call in (("resume", project.job, "--accept-changes"), ("run", project.job)):
        again = deploy(*call)
        assert (again.exit_code, again.document["changed"]) == (0, [])
    assert project.starts() == [run_id] * 2


def test_a_failed_run_goes_on_with_other_options_and_then_as_any_run(project: Project) -> None:
    project.write_job("python train.py --fail --steps 4", monitor={"max_restarts": 0})
    assert deploy("run", project.job).exit_code == 1
    project.write_job("python train.py --fail --steps 3 --loss 2", monitor={"max_restarts": 0})
    assert deploy("resume", project.job).exit_code == 5
    assert deploy("resume", project.job, "--accept-changes").data["step"] == 2
    assert deploy("resume", project.job).data["step"] == 3, "the changed call is the run's call now"


def test_a_finished_run_goes_on_with_other_source_files_alone(project: Project) -> None:
    deploy("run", project.job)
    trainer = project.folder / "src" / "train.py"
    trainer.write_text(trainer.read_text().replace("args = parser.parse_args()", "args = parser.parse_args(['--steps', '6'])"))
    longer = deploy("resume", project.job, "--accept-changes")
    assert (longer.exit_code, longer.data["step"]) == (0, 6), longer.document


def test_what_lives_or_is_another_run_is_not_changed(project: Project) -> None:
    project.write_job("python train.py --steps 3 --until-told")
    deploy("run", project.job, "--detach")
    project.write_job(LONGER)
    refused = deploy("resume", project.job, "--accept-changes")
    assert (refused.exit_code, refused.error["code"]) == (5, "conflict")
    project.let_it_end()
    wait_for(lambda: read(project.run_dir / "runner.json").get("state") == "finished", "the end")
    cluster = {"target": "eks", "image": {"uri": "any@sha256:" + "0" * 64}, "source": None}
    project.write_job(LONGER, **cluster)
    refused = deploy("resume", project.job, "--accept-changes", "--yes")
    assert (refused.exit_code, "target" in refused.error["message"]) == (5, True), refused.document
    assert "--accept-changes" not in deploy("run", project.job).error["hint"]
    assert len(project.starts()) == 1


def test_a_change_that_was_taken_before_its_caller_was_killed_is_not_made_again_after_a_stop(project: Project) -> None:
    deploy("run", project.job)
    project.write_job("python train.py --steps 5 --until-told")
    deploy("resume", project.job, "--accept-changes", "--detach")
    wait_for(lambda: len(project.starts()) == 2, "the second start")
    record = project.run_json()
    record["stages"]["submit"]["ended"] = None  # killed before the answer was written
    (project.run_dir / "run.json").write_text(json.dumps(record))
    deploy("stop", project.job)
    assert (deploy("run", project.job).exit_code, len(project.starts())) == (1, 2)


CHANGES = {
    "check was called": begun("check", answered=False),
    "check answered": begun("check", answered=True),
    "submit was called": begun("submit", answered=False),
    "the specification is stored": lambda project: "5" in read(project.run_dir / "runner-spec.json")["command"],
    "submit answered": begun("submit", answered=True),
    "the trainer started": lambda project: len(project.starts()) > 1,
}


@pytest.mark.parametrize(("verb", "point"), [*(("resume", point) for point in CHANGES), ("run", "submit was called")])
def test_killed_at_any_point_of_the_change_the_run_goes_on_once(project: Project, point: str, verb: str) -> None:
    run_id = deploy("run", project.job).data["run_id"]
    # the records of the first submission would look like the new ones
    before = {name: record["begun"] for name, record in project.run_json()["stages"].items()}
    project.write_job(LONGER)
    process = subprocess.Popen([sys.executable, str(DEPLOY), "resume", str(project.job), "--accept-changes"], text=True)
    stage = point.partition(" ")[0]

    def reached() -> bool:
        record = read(project.run_dir / "run.json")["stages"].get(stage, {})
        fresh = stage not in before or record.get("begun", 0) > before[stage]
        return fresh and CHANGES[point](project)

    try:
        wait_for(reached, point)
    finally:
        end(process)
    answer = deploy(verb, project.job)
    assert (answer.exit_code, answer.data["step"]) == (0, 5), answer.document
    assert project.starts() == [run_id] * 2
