"""What goes wrong with HyperPod's nodes on demand, and where its cause is said."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.components.aws import hyperpod
from tests.components.aws.building import refusal
from tests.components.aws.running import Aws


def add(aws: Aws, count: int = 1) -> None:
    wanted = [{"InstanceGroupName": "workers", "IncrementTargetCountBy": count}]
    aws.client("sagemaker").batch_add_cluster_nodes(ClusterName="trainyard", NodesToAdd=wanted)


def test_no_capacity(aws: Aws) -> None:
    """A continuous cluster stays InService and asks again; only the detail of its event says why."""
    hyperpod.make(aws)
    aws.hyperpod_fault("no_capacity", group="workers")
    add(aws)
    [event] = hyperpod.until(lambda: [each for each in hyperpod.events(aws) if each["EventLevel"] == "Error"])
    assert "InsufficientCapacity" not in event["Description"]
    assert "InsufficientCapacity" in event["metadata"]["InstanceGroupScaling"]["FailureMessage"]
    assert aws.client("sagemaker").describe_cluster(ClusterName="trainyard")["ClusterStatus"] == "InService"
    assert hyperpod.settled(aws)["InstanceGroups"][0]["CurrentCount"] == 3


def test_the_older_kind_rolls_back(aws: Aws) -> None:
    """An update without capacity goes back to the count before, and the cluster says why; it has no events."""
    hyperpod.make(aws, continuous=False)
    aws.hyperpod_fault("no_capacity")
    client = aws.client("sagemaker")
    client.update_cluster(ClusterName="trainyard", InstanceGroups=[{"InstanceGroupName": "workers", **hyperpod.group(3)}])
    shown = hyperpod.until(
        lambda: "FailureMessage" in (cluster := client.describe_cluster(ClusterName="trainyard")) and cluster
    )
    assert "InsufficientCapacity" in shown["FailureMessage"]
    assert hyperpod.settled(aws)["InstanceGroups"][0]["TargetCount"] == 2
    with pytest.raises(ClientError, match="Continuous"):
        client.list_cluster_events(ClusterName="trainyard")


def test_minimum_not_reached(aws: Aws) -> None:
    """Below MinInstanceCount when its time is over, the group goes back to what it was."""
    hyperpod.make(aws, groups={"workers": 1})
    aws.hyperpod_pace(minimum_s=0.4)
    aws.hyperpod_fault("never_comes", times=2)
    group = {"InstanceGroupName": "workers", **hyperpod.group(3, MinInstanceCount=2)}
    aws.client("sagemaker").update_cluster(ClusterName="trainyard", InstanceGroups=[group])
    [shown] = hyperpod.until(lambda: (now := hyperpod.settled(aws)["InstanceGroups"])[0]["TargetCount"] == 1 and now)
    assert "MinCount" not in shown


def test_quota(aws: Aws) -> None:
    """Above the account's limit nothing is added; at it, all is."""
    hyperpod.make(aws)
    aws.control("hyperpod_quota", instance_type="ml.p5.48xlarge", count=3)
    with pytest.raises(ClientError) as raised:
        add(aws, 2)
    assert refusal(raised)[0] == "ResourceLimitExceeded" and "request delta of 2" in refusal(raised)[1]
    add(aws)
    assert hyperpod.settled(aws)["InstanceGroups"][0]["TargetCount"] == 3


def test_replacement_rolls_back(aws: Aws) -> None:
    """The old instance comes back, and an event says so."""
    hyperpod.make(aws)
    [id, _] = hyperpod.ids(aws)
    aws.hyperpod_fault("rolls_back", node=id)
    aws.hyperpod_pace(fail_s=60)
    aws.client("sagemaker").batch_replace_cluster_nodes(ClusterName="trainyard", NodeIds=[id])
    assert hyperpod.statuses(aws)[id] == "ShuttingDown"
    aws.hyperpod_pass()
    hyperpod.settled(aws)
    assert id in hyperpod.ids(aws) and hyperpod.events(aws)[0]["EventLevel"] == "Error"


def test_never_comes_and_in_use(aws: Aws) -> None:
    """A node that stays away, and one that another operation holds: once each."""
    hyperpod.make(aws)
    client, [first, second] = aws.client("sagemaker"), hyperpod.ids(aws)
    aws.hyperpod_fault("never_comes", node=first)
    aws.hyperpod_fault("in_use", node=second)
    answer = client.batch_reboot_cluster_nodes(ClusterName="trainyard", NodeIds=[first, second])
    assert answer["Failed"][0]["ErrorCode"] == "InstanceIdInUse"
    assert client.batch_reboot_cluster_nodes(ClusterName="trainyard", NodeIds=[second])["Successful"] == [second]
    hyperpod.until(lambda: hyperpod.statuses(aws)[second] == "Running")
    assert hyperpod.statuses(aws)[first] == "Pending"


@pytest.mark.parametrize("recovery", ["Automatic", "None"])
def test_faulty(aws: Aws, recovery: str) -> None:
    """The agent marks a node: automatic recovery replaces it, without it the node stays as it is."""
    hyperpod.make(aws, recovery=recovery)
    aws.hyperpod_pace(recover_s=0.05, shutdown_s=0.05)
    [id, _] = hyperpod.ids(aws)
    aws.control("hyperpod_faulty", cluster="trainyard", node=id, reasons=["XID_79"])
    shown = {node["instance_id"]: node for node in aws.control("hyperpod_nodes", cluster="trainyard")}
    if recovery == "Automatic":
        hyperpod.until(lambda: id not in hyperpod.ids(aws))
        assert all(node["health"] == "Schedulable" for node in aws.control("hyperpod_nodes", cluster="trainyard"))
    else:
        assert (shown[id]["health"], shown[id]["fault_reasons"]) == ("UnschedulablePendingReplacement", ["XID_79"])
        assert id in hyperpod.ids(aws)


def test_throttled(aws: Aws) -> None:
    """As every call of the stand-in."""
    hyperpod.make(aws)
    aws.fail("sagemaker:ListClusterNodes", "ThrottlingException", "Rate exceeded")
    with pytest.raises(ClientError, match="Rate exceeded"):
        hyperpod.nodes(aws)
    assert len(hyperpod.nodes(aws)) == 2
