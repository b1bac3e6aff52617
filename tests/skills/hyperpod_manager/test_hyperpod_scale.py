"""`scale`: what is sent, what it costs, and what is refused."""

from __future__ import annotations

import pytest
from hyperpod_between import Between
from hyperpod_program import Program, by_name

from tests.components.aws import hyperpod

ADD, UPDATE, DELETE = "BatchAddClusterNodes", "UpdateCluster", "BatchDeleteClusterNodes"
FULL = {
    "OnStartDeepHealthChecks": ["InstanceStress"],
    "InstanceStorageConfigs": [{"EbsVolumeConfig": {"VolumeSizeInGB": 500, "RootVolume": False}}],
    "TrainingPlanArn": "arn:aws:sagemaker:us-east-1:123456789012:training-plan/p5-block",
    "OverrideVpcConfig": {"SecurityGroupIds": ["sg-2"], "Subnets": ["subnet-2"]},
    "ScheduledUpdateConfig": {
        "ScheduleExpression": "cron(0 3 ? * SUN *)",
        "DeploymentConfig": {"WaitIntervalInSeconds": 60, "AutoRollbackConfiguration": [{"AlarmName": "alarm"}]},
    },
    "CapacityRequirements": {"Spot": {}},
    "ImageId": "ami-0123456789abcdef0",
    "NetworkInterface": {"InterfaceType": "efa"},
    "KubernetesConfig": {"Labels": {"team": "a"}, "Taints": [{"Key": "k", "Value": "v", "Effect": "NoSchedule"}]},
    "AutoPatchConfig": {
        "PatchingStrategy": "WhenIdle",
        "PatchSchedule": {"NextPatchDate": 1800000000},
        "IdleWaitWindowInSeconds": 7200,
    },
}


def described(program: Program) -> dict[str, dict]:  # type: ignore[type-arg]
    found = program.aws.client("sagemaker").describe_cluster(ClusterName="trainyard")
    return {group["InstanceGroupName"]: group for group in found["InstanceGroups"]}


def without_counts(group: dict) -> dict:  # type: ignore[type-arg]
    return {name: value for name, value in group.items() if name not in ("CurrentCount", "TargetCount", "Status")}


def test_the_older_kind_gets_the_whole_group_back(program: Program) -> None:
    """UpdateCluster replaces a group: what is not sent is gone."""
    groups = {"workers": hyperpod.group(2, **FULL), "other": hyperpod.group(1, "ml.g5.8xlarge")}
    hyperpod.make(program.aws, groups=groups, continuous=False)
    before = described(program)
    plan = program("scale", "trainyard", "--group", "workers", "--add", 1)
    assert plan.code == 6
    assert plan.data["training_plan"].endswith("p5-block")
    assert plan.data["usd_per_hour_more"] == 55.04
    assert "2026-07-20" in plan.data["price_of"]
    asked = program("scale", "trainyard", "--group", "workers", "--add", 1, "--yes", "--no-wait")
    assert asked.document["changed"] == ["workers: 2 -> 3 nodes asked for"]
    hyperpod.settled(program.aws)
    after = described(program)
    assert after["workers"]["TargetCount"] == 3
    assert without_counts(after["workers"]) == without_counts(before["workers"])
    assert after["other"] == before["other"]


def test_a_setting_that_cannot_be_sent_back_is_named(program: Program, between: Between) -> None:
    """botocore leaves out, in silence, what its model does not have."""
    hyperpod.make(program.aws, continuous=False)

    def with_news(answer: dict) -> dict:  # type: ignore[type-arg]
        answer["InstanceGroups"][0]["LifeCycleConfig"]["QuantumMode"] = "on"
        return answer

    between.changes["DescribeCluster"] = with_news
    done = program("scale", "trainyard", "--group", "workers", "--add", 1, "--yes")
    assert done.code == 5
    assert "LifeCycleConfig.QuantumMode" in done.error["message"]
    assert "boto3" in done.error["hint"]
    assert program.sent(UPDATE) == []


def test_a_quota_is_named(program: Program) -> None:
    program.aws.control("hyperpod_quota", instance_type="ml.p5.48xlarge", count=3)
    for name, continuous, operation in (("trainyard", True, ADD), ("older", False, UPDATE)):
        program.slurm(name, count=1, continuous=continuous)
        done = program("scale", name, "--group", "workers", "--add", 9, "--yes")
        assert (done.code, done.error["code"]) == (5, "conflict")
        assert "quota 'ml.p5.48xlarge for cluster usage'" in done.error["hint"]
        assert len(program.sent(operation)) == 1
        assert len(hyperpod.ids(program.aws, name)) == 1


def test_another_update_is_waited_for(program: Program) -> None:
    program.slurm()
    words = ["scale", "trainyard", "--group", "workers", "--add", 1, "--yes"]
    program.aws.control("hyperpod_status", cluster="trainyard", status="Updating")
    busy = program(*words)
    assert busy.code == 5
    assert "is Updating" in busy.error["message"]
    assert "wait trainyard" in busy.error["hint"]
    assert program.sent(UPDATE) == []
    program.aws.control("hyperpod_status", cluster="trainyard", status="InService")
    program.aws.fail("sagemaker:UpdateCluster", "ConflictException", "an update is in progress")
    between_look_and_call = program(*words)
    assert (between_look_and_call.code, between_look_and_call.error["code"]) == (5, "conflict")
    assert program(*words).code == 0


def test_a_rolled_back_update_is_a_failure(program: Program) -> None:
    program.slurm()
    program.aws.hyperpod_fault("no_capacity", message="none left")
    done = program("scale", "trainyard", "--group", "workers", "--add", 1, "--yes")
    assert done.code == 1
    assert len(hyperpod.ids(program.aws)) == 2


def test_more_than_50_are_added_in_several_calls(program: Program) -> None:
    program.slurm(count=1, continuous=True)
    done = program("scale", "trainyard", "--group", "workers", "--count", 61, "--yes")
    assert done.code == 0
    assert len(program.sent(ADD)) == 2
    assert len(hyperpod.ids(program.aws)) == 61
    same = program("scale", "trainyard", "--group", "workers", "--count", 61, "--yes")
    assert (same.code, same.document["changed"]) == (0, [])


def test_what_the_answer_refuses_is_a_failure(program: Program, between: Between) -> None:
    program.slurm(continuous=True)

    def half(answer: dict) -> dict:  # type: ignore[type-arg]
        failed = {"InstanceGroupName": "workers", "ErrorCode": "InvalidInstanceGroupStatus", "FailedCount": 1}
        return {"Successful": answer["Successful"][:1], "Failed": [failed]}

    between.changes[ADD] = half
    done = program("scale", "trainyard", "--group", "workers", "--add", 2, "--yes", "--no-wait")
    assert done.code == 1
    assert done.check("scale.failed")["status"] == "fail"
    assert done.data["target"] == 3


def test_a_lost_answer_adds_nothing_twice(program: Program, between: Between) -> None:
    program.slurm(continuous=True)
    between.kept[ADD] = "lost"
    done = program("scale", "trainyard", "--group", "workers", "--add", 2, "--yes")
    assert done.code == 0
    assert len(hyperpod.ids(program.aws)) == 4
    assert between.seen.count(ADD) == 2
    between.kept[UPDATE] = "lost"
    program.slurm("older")
    assert program("scale", "older", "--group", "workers", "--add", 1, "--yes").code == 0
    assert between.seen.count(UPDATE) == 1


@pytest.mark.parametrize("continuous", [False, True])
def test_fewer_nodes_are_named_nodes(program: Program, continuous: bool) -> None:
    """Without names AWS chooses, and on a Slurm cluster nobody here knows who works where."""
    first, *rest = program.slurm(count=3, continuous=continuous)
    unnamed = program("scale", "trainyard", "--group", "workers", "--count", 2, "--yes")
    assert unnamed.code == 5
    contradiction = program("scale", "trainyard", "--group", "workers", "--count", 1, *by_name([first]), "--yes")
    assert contradiction.code == 2
    assert program("scale", "trainyard", "--group", "workers", "--count", 2, "--node", first, "--yes").code == 5
    words = ["scale", "trainyard", "--group", "workers", "--count", 2, *by_name([first])]
    assert program(*words).code == 6
    assert program.sent(DELETE) == program.sent(UPDATE) == []
    assert program(*words, "--yes").code == 0
    assert hyperpod.ids(program.aws) == rest


def test_bounds_are_said(program: Program) -> None:
    hyperpod.make(program.aws, groups={"workers": hyperpod.group(3, MinInstanceCount=2)})
    below = program("scale", "trainyard", "--group", "workers", "--count", 1)
    assert below.code == 5
    assert "minimum of 2" in below.error["message"]
    assert program("scale", "trainyard", "--group", "workers", "--count", 7000).code == 2
    assert program("scale", "trainyard", "--group", "workers").code == 2
    assert program("scale", "trainyard", "--group", "nobody", "--add", 1).code == 3
    assert program.sent(ADD) == []
