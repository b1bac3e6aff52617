"""The policies of the verbs that act: enough for the verb, for this cluster alone, and nothing in them that the verb does not call."""

from __future__ import annotations

from typing import Any

import pytest
from hyperpod_program import Program, by_name

from tests.components.aws import hyperpod
from tests.infrastructure import aws_policies as policies

EVENTS = {"sagemaker:ListClusterEvents", "sagemaker:DescribeClusterEvent"}
"""Asked for where something fails or does not come."""


def cases(program: Program) -> dict[str, list[list[Any]]]:
    """Verb -> calls that together need everything in its policy."""
    ids = program.slurm(count=4, continuous=True)
    program.slurm("older")
    return {
        "reboot": [["reboot", "trainyard", *by_name(ids[:1]), "--yes"]],
        "replace": [["replace", "trainyard", *by_name(ids[:1]), "--yes"]],
        "scale": [
            ["scale", "trainyard", "--group", "workers", "--add", 1, "--yes"],
            ["scale", "trainyard", "--group", "workers", "--count", 4, *by_name(ids[:1]), "--yes"],
            ["scale", "older", "--group", "workers", "--add", 1, "--yes"],
        ],
        "wait": [["wait", "trainyard"], ["wait", "trainyard", "--operation", "OPERATION"]],
    }


@pytest.mark.parametrize("verb", ["reboot", "replace", "scale", "wait"])
def test_the_policy_of_a_verb_is_enough(program: Program, verb: str) -> None:
    client = program.aws.client("sagemaker")
    words = cases(program)[verb]
    if verb == "wait":
        program("scale", "trainyard", "--group", "workers", "--add", 1, "--yes")
        operation = client.list_cluster_operations(ClusterName="trainyard")["ClusterOperationSummaries"][0]["OperationId"]
        words = [[operation if word == "OPERATION" else word for word in call] for call in words]
    own, other = (client.describe_cluster(ClusterName=name)["ClusterArn"].rpartition("/")[2] for name in ("trainyard", "older"))
    granted = policies.policy(f"hyperpod-{verb}", cluster=own)
    granted["Statement"] += policies.policy(f"hyperpod-{verb}", cluster=other)["Statement"] if verb == "scale" else []
    user = program.aws.user(granted)
    program.env |= user
    for call in words:
        done = program(*call)
        assert done.code == 0, done.document
    assert policies.refused(program.aws, user) == set()
    assert policies.called(program.aws, user) <= policies.actions(granted)
    assert policies.actions(granted) - policies.called(program.aws, user) <= EVENTS


def test_a_move_needs_its_policy(program: Program) -> None:
    groups = {"workers": hyperpod.group(2), "spare": hyperpod.group(0)}
    arn = hyperpod.make(program.aws, groups=groups)
    first, second = hyperpod.ids(program.aws)
    user = program.aws.user(policies.policy("hyperpod-move", cluster=arn.rpartition("/")[2]))
    program.env |= user
    words = ["move", "trainyard", *by_name([first]), "--to-group", "spare"]
    plan = program(*words)
    assert plan.code == 6
    assert plan.data["to"] == {"cluster": "trainyard", "group": "spare"}
    done = program(*words, "--yes")
    assert done.check(f"move.{first}")["status"] == "unknown", "no Kubernetes says that it can take a job"
    rows = {each["InstanceId"]: each["InstanceGroupName"] for each in hyperpod.nodes(program.aws)}
    assert rows == {first: "spare", second: "workers"}
    assert len(program.sent("MoveClusterNodes")) == 1
    assert program(*words[:-1], "workers", "--yes").code == 1, "back again is another move"
    assert len(program.sent("MoveClusterNodes")) == 2
    assert program("move", "trainyard", *by_name([second]), "--to-group", "workers", "--yes").code == 5
    assert policies.refused(program.aws, user) <= {"eks:DescribeCluster"}


@pytest.mark.parametrize(
    ("verb", "action"),
    [("replace", "BatchReplaceClusterNodes"), ("scale", "BatchAddClusterNodes"), ("wait", "ListClusterNodes")],
)
def test_a_missing_permission_is_named(program: Program, verb: str, action: str) -> None:
    words = cases(program)[verb][0]
    program.env |= program.aws.user(policies.policy(f"hyperpod-{verb}", without=f"sagemaker:{action}"))
    done = program(*words)
    assert (done.code, done.error["code"]) == (4, "permission")
    assert f'"sagemaker:{action}"' in done.error["hint"]
    assert len(hyperpod.ids(program.aws)) == 4
