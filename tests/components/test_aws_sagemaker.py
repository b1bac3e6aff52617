"""HyperPod's calls answer as AWS's do: pages, counts, replacements, updates that replace a group, tokens, policies."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.components.aws import hyperpod
from tests.components.aws.building import refusal
from tests.components.aws.running import VERSION, Aws

Document = dict[str, Any]
ELSEWHERE = "i-0123456789abcdef0"


def groups_of(aws: Aws, name: str = "trainyard") -> dict[str, Document]:
    shown = aws.client("sagemaker").describe_cluster(ClusterName=name)
    return {group["InstanceGroupName"]: group for group in shown["InstanceGroups"]}


def named(name: str, specification: Document) -> Document:
    return {"InstanceGroupName": name, **specification}


@pytest.mark.parametrize("continuous", [True, False])
def test_created(aws: Aws, continuous: bool) -> None:
    """A new cluster comes to its nodes; a continuous one is InService before them, the older kind only with them."""
    client = aws.client("sagemaker")
    aws.hyperpod_pace(create_s=60, launch_s=60)
    group = named("workers", hyperpod.group(2))
    arn = client.create_cluster(ClusterName="new", InstanceGroups=[group], **hyperpod.settings(continuous=continuous))[
        "ClusterArn"
    ]
    assert len(arn.rpartition("/")[2]) == 12
    assert client.describe_cluster(ClusterName=arn)["ClusterStatus"] == "Creating"
    aws.hyperpod_pass()
    shown = hyperpod.settled(aws, "new")
    assert (shown.get("NodeProvisioningMode") == "Continuous") is continuous
    assert all(("NodeLogicalId" in node) is continuous for node in hyperpod.nodes(aws, "new"))
    with pytest.raises(ClientError) as raised:
        client.create_cluster(ClusterName="new", InstanceGroups=[group])
    assert refusal(raised)[0] == "ResourceInUse"
    client.delete_cluster(ClusterName="new")
    hyperpod.until(lambda: not client.list_clusters()["ClusterSummaries"])


def test_pages(aws: Aws) -> None:
    """Nodes come in pages; a token of one list is refused by another."""
    hyperpod.make(aws, groups={"workers": 23})
    client = aws.client("sagemaker")
    first = client.list_cluster_nodes(ClusterName="trainyard")
    assert len(first["ClusterNodeSummaries"]) == 10
    assert len(set(hyperpod.ids(aws))) == 23
    with pytest.raises(ClientError, match="NextToken"):
        client.list_clusters(NextToken=first["NextToken"])


@pytest.mark.parametrize(("as_moto", "code"), [(False, "ResourceNotFound"), (True, "ValidationException")])
def test_not_found(aws: Aws, as_moto: bool, code: str) -> None:
    """In AWS's words, or in moto's."""
    aws.control("hyperpod_not_found", as_moto=as_moto)
    with pytest.raises(ClientError) as raised:
        aws.client("sagemaker").describe_cluster(ClusterName="absent")
    assert refusal(raised)[0] == code


def test_replaced(aws: Aws) -> None:
    """The instance is another one, the logical id the same; an id of another cluster fails inside the 200, a second call is in use."""
    hyperpod.make(aws)
    aws.hyperpod_pace(shutdown_s=60)
    client, before = aws.client("sagemaker"), hyperpod.nodes(aws)
    old = before[0]["InstanceId"]
    answer = client.batch_replace_cluster_nodes(ClusterName="trainyard", NodeIds=[old, ELSEWHERE])
    assert answer["Successful"] == [old]
    assert [each["ErrorCode"] for each in answer["Failed"]] == ["InstanceIdNotFound"]
    again = client.batch_replace_cluster_nodes(ClusterName="trainyard", NodeIds=[old])
    assert "Successful" not in again and again["Failed"][0]["ErrorCode"] == "InstanceIdInUse"
    assert hyperpod.statuses(aws)[old] == "ShuttingDown" and groups_of(aws)["workers"]["CurrentCount"] == 1
    aws.hyperpod_pass()
    hyperpod.settled(aws)
    after = hyperpod.nodes(aws)
    assert old not in hyperpod.ids(aws)
    assert {node["NodeLogicalId"] for node in after} == {node["NodeLogicalId"] for node in before}


def test_rebooted(aws: Aws) -> None:
    """The node leaves Running and comes back with its id; it is counted all the time."""
    hyperpod.make(aws, continuous=False)
    aws.hyperpod_pace(reboot_s=60)
    [id, _] = hyperpod.ids(aws)
    aws.client("sagemaker").batch_reboot_cluster_nodes(ClusterName="trainyard", NodeIds=[id])
    assert hyperpod.statuses(aws)[id] == "Pending" and groups_of(aws)["workers"]["CurrentCount"] == 2
    aws.hyperpod_pass()
    assert hyperpod.statuses(aws)[id] == "Running"


def test_update_replaces_the_group(aws: Aws) -> None:
    """What is left out of a group that is sent is lost; a group that is not sent stays."""
    full = hyperpod.group(1, KubernetesConfig={"Labels": {"team": "a"}}, OnStartDeepHealthChecks=["InstanceStress"])
    hyperpod.make(aws, groups={"sent": full, "other": full})
    aws.hyperpod_pace(launch_s=60)
    aws.client("sagemaker").update_cluster(ClusterName="trainyard", InstanceGroups=[named("sent", hyperpod.group(2))])
    shown = groups_of(aws)
    assert "KubernetesConfig" not in shown["sent"] and "OnStartDeepHealthChecks" not in shown["sent"]
    assert shown["other"]["KubernetesConfig"]["DesiredLabels"] == {"team": "a"}
    assert (shown["sent"]["TargetCount"], shown["sent"]["ActiveOperations"]) == (2, {"Scaling": 1})
    aws.hyperpod_pass()
    hyperpod.settled(aws)


def test_conflict(aws: Aws) -> None:
    """The older kind takes no second update; a continuous one supersedes the first."""
    client = aws.client("sagemaker")
    aws.hyperpod_pace(launch_s=60)
    for name, continuous in (("old", False), ("new", True)):
        hyperpod.make(aws, name, continuous=continuous)
        client.update_cluster(ClusterName=name, InstanceGroups=[named("workers", hyperpod.group(3))])
    with pytest.raises(ClientError) as raised:
        client.update_cluster(ClusterName="old", InstanceGroups=[named("workers", hyperpod.group(4))])
    assert refusal(raised)[0] == "ConflictException"
    client.update_cluster(ClusterName="new", InstanceGroups=[named("workers", hyperpod.group(4))])
    aws.hyperpod_pass()
    hyperpod.settled(aws, "new")
    operations = client.list_cluster_operations(ClusterName="new")["ClusterOperationSummaries"]
    assert [each["Status"] for each in operations] == ["Done", "Superseded"]
    detail = client.describe_cluster_operation(ClusterName="new", OperationId=operations[0]["OperationId"])
    assert detail["ScalingDetails"][0]["Desired"]["TargetCount"] == 4


def test_added_and_deleted(aws: Aws) -> None:
    """The same token adds once; a group that is not there fails alone; a deletion takes the target down."""
    hyperpod.make(aws)
    client = aws.client("sagemaker")
    wanted = [{"InstanceGroupName": name, "IncrementTargetCountBy": 2} for name in ("workers", "absent")]
    answers = [client.batch_add_cluster_nodes(ClusterName="trainyard", ClientToken="t", NodesToAdd=wanted) for _ in range(2)]
    ids = [{each["NodeLogicalId"] for each in answer["Successful"]} for answer in answers]
    assert ids[0] == ids[1] and len(ids[0]) == 2
    assert answers[0]["Failed"][0]["ErrorCode"] == "InstanceGroupNotFound" and answers[0]["Failed"][0]["FailedCount"] == 2
    with pytest.raises(ClientError):
        client.batch_add_cluster_nodes(ClusterName="trainyard", ClientToken="t", NodesToAdd=wanted[:1])
    assert hyperpod.settled(aws)["InstanceGroups"][0]["CurrentCount"] == 4
    client.batch_delete_cluster_nodes(ClusterName="trainyard", NodeLogicalIds=sorted(ids[0]))
    assert hyperpod.settled(aws)["InstanceGroups"][0]["TargetCount"] == 2
    hyperpod.make(aws, "old", continuous=False)
    with pytest.raises(ClientError, match="Continuous"):
        client.batch_add_cluster_nodes(ClusterName="old", NodesToAdd=wanted)


def test_moved(aws: Aws) -> None:
    """The instance keeps its ids in the other cluster; what does not fit fails alone, and where nothing fits, the call."""
    source = hyperpod.make(aws, "a", {"from": 3, "small": hyperpod.group(1, "ml.g5.8xlarge")})
    target = hyperpod.make(aws, "b", {"to": 1})
    aws.hyperpod_pace(detach_s=60)
    client = aws.client("sagemaker")
    [node, odd, *_] = [node for node in hyperpod.nodes(aws, "a") if node["InstanceGroupName"] == "from"]
    aws.control("hyperpod_node", cluster="a", node=odd["InstanceId"], instance_type="ml.g5.8xlarge")
    request = {
        "SourceClusterArn": source,
        "SourceInstanceGroupName": "from",
        "TargetClusterArn": target,
        "TargetInstanceGroupName": "to",
        "NodeIds": [node["InstanceId"], odd["InstanceId"], ELSEWHERE],
        "ClientToken": "m",
    }
    answers = [client.move_cluster_nodes(**request) for _ in range(2)]
    assert all(answer["Successful"] == [node["InstanceId"]] for answer in answers)
    assert {each["Code"] for each in answers[0]["Failed"]} == {"NodeIdNotFound", "NodeInstanceTypeMismatch"}
    assert hyperpod.statuses(aws, "a")[node["InstanceId"]] == "DetachInProgress"
    aws.hyperpod_pass()
    hyperpod.settled(aws, "b")
    moved = next(each for each in hyperpod.nodes(aws, "b") if each["InstanceId"] == node["InstanceId"])
    assert moved["NodeLogicalId"] == node["NodeLogicalId"]
    assert (groups_of(aws, "a")["from"]["TargetCount"], groups_of(aws, "b")["to"]["TargetCount"]) == (2, 2)
    with pytest.raises(ClientError, match="None of"):
        small = next(each["InstanceId"] for each in hyperpod.nodes(aws, "a") if each["InstanceGroupName"] == "small")
        client.move_cluster_nodes(**request | {"SourceInstanceGroupName": "small", "NodeIds": [small], "ClientToken": "n"})


def test_health_check(aws: Aws) -> None:
    """Nodes are being checked, and then Running again; the operation is done."""
    hyperpod.make(aws)
    aws.hyperpod_pace(check_s=60)
    client, [id, _] = aws.client("sagemaker"), hyperpod.ids(aws)
    config = {"InstanceGroupName": "workers", "InstanceIds": [id], "DeepHealthChecks": ["InstanceStress"]}
    client.start_cluster_health_check(ClusterName="trainyard", DeepHealthCheckConfigurations=[config])
    assert hyperpod.statuses(aws)[id] == "DeepHealthCheckInProgress"
    aws.hyperpod_pass()
    hyperpod.settled(aws)
    assert (
        client.list_cluster_operations(ClusterName="trainyard", Type="DeepHealthCheck")["ClusterOperationSummaries"][0][
            "Status"
        ]
        == "Done"
    )


def test_patched_first(aws: Aws) -> None:
    """A cluster from before the batch calls wants UpdateClusterSoftware; a controller of Slurm is never deleted."""
    controller = hyperpod.group(1, "ml.c5.xlarge", SlurmConfig={"NodeType": "Controller"})
    hyperpod.make(aws, groups={"head": controller, "workers": 1}, continuous=False, slurm=True, patched=False)
    client = aws.client("sagemaker")
    head = next(node["InstanceId"] for node in hyperpod.nodes(aws) if node["InstanceGroupName"] == "head")
    with pytest.raises(ClientError, match="UpdateClusterSoftware"):
        client.batch_replace_cluster_nodes(ClusterName="trainyard", NodeIds=[head])
    aws.hyperpod_pace(software_s=60)
    client.update_cluster_software(ClusterName="trainyard")
    assert set(hyperpod.statuses(aws).values()) == {"SystemUpdating"}
    aws.hyperpod_pass()
    hyperpod.settled(aws)
    assert {node["ImageVersionStatus"] for node in hyperpod.nodes(aws)} == {"UpToDate"}
    with pytest.raises(ClientError, match="controller"):
        client.batch_delete_cluster_nodes(ClusterName="trainyard", NodeIds=[head])
    assert client.batch_replace_cluster_nodes(ClusterName="trainyard", NodeIds=[head])["Successful"] == [head]


def test_policies(aws: Aws) -> None:
    """A policy for one cluster's ARN allows that cluster by name, and no other; roles that are passed must be allowed too."""
    arn = hyperpod.make(aws)
    hyperpod.make(aws, "other")
    actions = ["sagemaker:DescribeCluster", "sagemaker:UpdateCluster"]
    policy = {"Version": VERSION, "Statement": [{"Effect": "Allow", "Action": actions, "Resource": arn}]}
    client = aws.client("sagemaker", environment=aws.user(policy))
    client.describe_cluster(ClusterName="trainyard")
    for denied in (
        lambda: client.describe_cluster(ClusterName="other"),
        lambda: client.list_clusters(),
        lambda: client.update_cluster(ClusterName="trainyard", InstanceGroups=[named("workers", hyperpod.group(3))]),
    ):
        with pytest.raises(ClientError) as raised:
            denied()
        assert refusal(raised)[0] == "AccessDeniedException"
    assert "iam:PassRole" in refusal(raised)[1]
