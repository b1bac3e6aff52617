"""A target is one new file in places/: `run`, `status` and `stop` find it there, and nothing else is told about it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from deployer_calls import DEPLOY, Project, deploy

TOY = '''
"""Target toy: this machine, for people who want to be asked first."""

from typing import Any, ClassVar

from places import local


class Place(local.Place):
    asks_yes: ClassVar[bool] = True

    def describe(self, deployment: Any, run: Any) -> dict[str, Any]:
        return {**super().describe(deployment, run), "summary": "start it", "toy": True}
'''


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """deploy.py of a copy of the skills that knows one target more."""
    skills = tmp_path / "skills"
    for name in ("training-job-deployer", "local-runner", "monitor"):
        shutil.copytree(DEPLOY.parents[2] / name, skills / name, ignore=shutil.ignore_patterns("__pycache__"))
    (skills / "training-job-deployer" / "src" / "places" / "toy.py").write_text(TOY)
    return skills / "training-job-deployer" / "src" / "deploy.py"


def test_a_target_of_one_file(project: Project, program: Path) -> None:
    project.write_job("python train.py --steps 2 --until-told", target="toy")
    plan = deploy("plan", project.job, program=program)
    assert (plan.exit_code, plan.data["target"], plan.data["toy"]) == (0, "toy", True)
    asked = deploy("run", project.job, program=program)
    assert (asked.exit_code, asked.error["code"], project.starts()) == (6, "confirm", [])
    begun = deploy("run", project.job, "--yes", "--detach", program=program)
    assert begun.exit_code == 0 and project.run_json()["target"] == "toy"
    assert deploy("list", project.job, program=program).data["runs"][0]["state"] in ("starting", "running")
    assert deploy("stop", project.job, program=program).data["state"] == "stopped"
    enum = deploy("schema", program=program).data["$defs"]["Job"]["properties"]["target"]["enum"]
    assert "toy" in enum and "local" in enum


FAULTS = {
    "no class": ("X = 1\n", "has no attribute 'Place'"),
    "no module": ("import no_such_module\n", "No module named 'no_such_module'"),
    "no methods": ("import deploy_place\nclass Place(deploy_place.Place): pass\n", "abstract"),
    "no submission": (
        "from places import local\nclass Place(local.Place):\n    stages = staticmethod(lambda job: ())\n",
        "submit",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_no_target(project: Project, program: Path, fault: str) -> None:
    """The author learns which file it is and what is wrong with it."""
    text, told = FAULTS[fault]
    (program.parent / "places" / "toy.py").write_text(text)
    project.write_job(target="toy")
    plan = deploy("plan", project.job, program=program)
    assert (plan.exit_code, plan.error["code"]) == (70, "internal")
    assert plan.error["message"].startswith("places/toy.py holds no usable class Place: ") and told in plan.error["message"]


def test_a_target_without_its_file(project: Project, program: Path) -> None:
    """Control: a job file that names it is refused, and so is a run that a later version began."""
    project.write_job("python train.py --steps 2", target="toy")
    refused = deploy("plan", project.job)
    assert refused.exit_code == 2 and "'toy' is not one of the known values: eks," in refused.error["message"]
    assert deploy("run", project.job, "--yes", program=program).exit_code == 0
    unknown = deploy("status", project.run_dir)
    assert (unknown.exit_code, unknown.error["code"]) == (5, "conflict") and "toy" in unknown.error["message"]
