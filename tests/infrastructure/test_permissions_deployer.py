"""deploy.py as a member of the group that the base binds: with all four Roles a job is planned, run, looked at and stopped."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.infrastructure.conftest import Team
from tests.infrastructure.kustomized import built
from tests.infrastructure.skill_calls import SKILLS
from tests.training.forking import skill_run

ROLES = ("cluster-manager", "pytorchjob-manager", "ray-manager", "checkpoint-manager")
JOB = """
name: by-role
target: eks
source: .
run: torchrun train.py
nodes: 2
image: {uri: "any:1"}
cluster: {namespace: NAMESPACE, node_selector: {type: kwok}, tolerations: [{key: kwok, operator: Exists}]}
checkpoints: {storage: {class: CLASS, size: 1Gi}}
"""


def deploy(kubeconfig: Path, *words: str, exits: tuple[int, ...]) -> dict[str, Any]:
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    command = [sys.executable, str(SKILLS / "training-job-deployer/src/deploy.py"), *words]
    done = skill_run(command, timeout=240, env=environment)
    assert done.returncode in exits, f"{words}: exit {done.returncode}\n{done.stdout}{done.stderr[-2000:]}"
    document = dict(json.loads(done.stdout))
    assert document.get("error", {}).get("code") != "permission", document
    return document


def test_the_base_binds_every_role_to_the_group() -> None:
    bound = {each["roleRef"]["name"] for each in built("base") if each["kind"] == "RoleBinding"}
    assert (
        bound
        == {f"trainyard-{role}" for role in (*ROLES, "monitor")}
        == {each["metadata"]["name"] for each in built("base") if each["kind"] == "Role"}
    )


@pytest.fixture(scope="module")
def job(team: Team, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("job") / "job.yaml"
    path.write_text(JOB.replace("NAMESPACE", team.namespace).replace("CLASS", team.storage_class(1)))
    (path.parent / "train.py").write_text("print('trains')\n")
    return path


def test_a_job_is_run_looked_at_and_stopped_without_the_cluster_role(team: Team, job: Path) -> None:
    user = team.user(*ROLES).kubeconfig
    assert not deploy(user, "plan", str(job), exits=(1,))["ok"], "what may not be read is unknown, and no pass"
    deploy(user, "run", str(job), "--yes", "--detach", exits=(0,))
    assert deploy(user, "status", str(job), exits=(0, 1))["data"]["state"] in ("pending", "running")
    deploy(user, "stop", str(job), exits=(0,))
    assert team.cluster.kubectl("get", "pytorchjobs,pods", "-n", team.namespace, "--output=name") == ""


def test_with_the_cluster_role_the_plan_knows_that_the_job_fits(team: Team, job: Path) -> None:
    user = team.user(*ROLES, cluster_reads=True).kubeconfig
    elsewhere = str(job.parent / "other-state")
    plan = deploy(user, "plan", str(job), "--state-dir", elsewhere, exits=(0, 1))
    assert {check["id"]: check["status"] for check in plan["checks"]}["fit.nodes"] == "pass"
