"""cluster-manager with and without the ClusterRole: what may not be read is unknown and prints a rule of it, never a pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.infrastructure.conftest import Team
from tests.infrastructure.kustomized import granted
from tests.infrastructure.recorded import Record
from tests.infrastructure.skill_calls import RUN_ID, call, printed_permissions

JOB = """
name: some
target: eks
run: torchrun train.py
nodes: 2
image: {uri: any:1}
resources: {instance_type: p4d.24xlarge}
cluster: {tolerations: [{key: kwok, operator: Exists}]}
checkpoints: {storage: {class: CLASS}}
"""
ROLES = ("cluster-manager", "pytorchjob-manager", "ray-manager", "checkpoint-manager")
NOT_INSTALLED = ("kueue.x-k8s.io", "karpenter.sh")
"""Not in the test cluster: their permissions are from the code alone."""
NO_DEPLOYMENT = {("jobset.x-k8s.io", "jobsets", "create")}
"""Operators of the test cluster are processes without a Deployment, so `health` asks each by a dry run; nobody deploys a JobSet."""
Verbs = dict[str, dict[str, Any]]


@dataclass
class Member:
    user: Record
    said: Verbs
    """Verb -> the document that it printed."""


def asked(user: Record, team: Team, job_file: Path) -> Verbs:
    return {
        "health": call(user.kubeconfig, "cluster-manager", "health", exits=(0, 1)),
        "capacity": call(user.kubeconfig, "cluster-manager", "capacity", exits=(0, 1, 4)),
        "fit": call(user.kubeconfig, "cluster-manager", "fit", str(job_file), exits=(0, 1)),
        "fit without room": call(user.kubeconfig, "cluster-manager", "fit", str(_crowd(job_file)), exits=(1,)),
        "fit on a claim": call(user.kubeconfig, "cluster-manager", "fit", str(job_file), "--claim", "held", exits=(0, 1)),
    }


def _crowd(job_file: Path) -> Path:
    """A job of more nodes than there are."""
    path = job_file.with_name("crowd.yaml")
    path.write_text(job_file.read_text().replace("nodes: 2", "nodes: 900"))
    return path


@pytest.fixture(scope="module")
def job_file(team: Team) -> Path:
    """With a claim beside it that holds one of two volumes."""
    storage_class = team.storage_class(2)
    spec = {"accessModes": ["ReadWriteMany"], "storageClassName": storage_class, "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": "held", "namespace": team.namespace}
    team.cluster.apply([{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}])
    path = team.folder / "job.yaml"
    path.write_text(JOB.replace("CLASS", storage_class))
    team.cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/held", "-n", team.namespace, "--timeout=30s")
    return path


@pytest.fixture(scope="module")
def narrow(team: Team, job_file: Path) -> Member:
    user = team.user("cluster-manager")
    return Member(user, asked(user, team, job_file))


@pytest.fixture(scope="module")
def wide(team: Team, job_file: Path) -> Member:
    """With the ClusterRole, and as every deployer with the managers' Roles: `health` asks operators by a dry run of their jobs."""
    user = team.user(*ROLES, cluster_reads=True)
    said = asked(user, team, job_file)
    for storage_class in (team.storage_class(0), team.efs_class()):
        words = ["ensure-volume", "some", "--run-id", RUN_ID, "--storage-class", storage_class, "--size", "1Gi", "--dry-run"]
        said[f"ensure-volume of {storage_class}"] = call(user.kubeconfig, "volumes", *words, exits=(0, 1))
    return Member(user, said)


def test_without_the_cluster_role_nothing_that_it_would_read_passes(narrow: Member) -> None:
    for verb, document in narrow.said.items():
        assert not document["ok"], verb
        printed = printed_permissions(document)
        assert printed or "error" in document, f"{verb} says which rule is missing"
        assert printed <= granted(cluster_reads=True), f"{verb} asks for more than the ClusterRole gives"


def test_without_the_cluster_role_it_is_not_known_whether_a_job_fits(narrow: Member) -> None:
    assert narrow.said["fit"]["data"]["fits"] is None


def test_with_the_cluster_role_nothing_is_left_unread(wide: Member) -> None:
    for verb, document in wide.said.items():
        assert printed_permissions(document) <= NO_DEPLOYMENT, verb
        assert document.get("error", {}).get("code") != "permission", verb
    assert wide.said["fit"]["data"]["fits"] is True


def test_all_that_is_granted_is_asked_for_and_nothing_else(wide: Member) -> None:
    asked, own = wide.user.permissions(), granted("cluster-manager", cluster_reads=True)
    assert {each for each in own - asked if each[0] not in NOT_INSTALLED} == set()
    assert asked - granted(*ROLES, cluster_reads=True) - NO_DEPLOYMENT == set()


def test_no_program_changes_the_kubeconfig(narrow: Member, wide: Member) -> None:
    for member in (narrow, wide):
        assert member.user.kubeconfig.read_text() == member.user.written
