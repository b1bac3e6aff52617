"""HyperPod clusters for tests: made, waited for, and what becomes of their nodes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.components.aws.running import Aws
from tests.components.aws.world import ACCOUNT

Document = dict[str, Any]
DEADLINE_S = 20.0
ROLE = f"arn:aws:iam::{ACCOUNT}:role/hyperpod"
EKS_ARN = f"arn:aws:eks:us-east-1:{ACCOUNT}:cluster/trainyard"


def group(count: int = 2, instance_type: str = "ml.p5.48xlarge", **members: Any) -> Document:
    """An instance group's specification but its name, as a user writes it."""
    return {
        "InstanceCount": count,
        "InstanceType": instance_type,
        "ExecutionRole": ROLE,
        "LifeCycleConfig": {"SourceS3Uri": "s3://sagemaker-lifecycle/", "OnCreate": "on_create.sh"},
        "ThreadsPerCore": 1,
        **members,
    }


def settings(*, continuous: bool = True, slurm: bool = False, recovery: str = "Automatic", **members: Any) -> Document:
    """CreateCluster's members but name and groups."""
    vpc = {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]}
    orchestrator: Document = {} if slurm else {"Orchestrator": {"Eks": {"ClusterArn": EKS_ARN}}}
    mode = {"NodeProvisioningMode": "Continuous"} if continuous else {}
    return {"NodeRecovery": recovery, "VpcConfig": vpc, **orchestrator, **mode, **members}


def make(aws: Aws, name: str = "trainyard", groups: dict[str, Document | int] | None = None, **options: Any) -> str:
    """The ARN of a cluster that is InService, its nodes Running. `groups`: name -> specification (`group()`) or count;

    `options`: those of `settings`, and patched=False, region=.
    """
    given = groups if groups is not None else {"workers": 2}
    specs = {each: group(spec) if isinstance(spec, int) else spec for each, spec in given.items()}
    outer = {key: options.pop(key) for key in ("patched", "region") if key in options}
    return str(aws.control("hyperpod_cluster", name=name, groups=specs, **outer, **settings(**options))["ClusterArn"])


def nodes(aws: Aws, cluster: str = "trainyard", **where: Any) -> list[Document]:
    """Of every page: ListClusterNodes, those without an instance too."""
    pages = (
        aws.client("sagemaker")
        .get_paginator("list_cluster_nodes")
        .paginate(ClusterName=cluster, IncludeNodeLogicalIds=True, **where)
    )
    return [node for page in pages for node in page["ClusterNodeSummaries"]]


def statuses(aws: Aws, cluster: str = "trainyard") -> dict[str, str]:
    """Instance id, or logical id where there is none, -> status."""
    return {node["InstanceId"] or node["NodeLogicalId"]: node["InstanceStatus"]["Status"] for node in nodes(aws, cluster)}


def ids(aws: Aws, cluster: str = "trainyard") -> list[str]:
    return [node["InstanceId"] for node in nodes(aws, cluster) if node["InstanceId"]]


def events(aws: Aws, cluster: str = "trainyard", **asked: Any) -> list[Document]:
    """The newest first, each with its detail call's metadata as `metadata`."""
    client, found, token = aws.client("sagemaker"), [], {}
    while True:
        page = client.list_cluster_events(ClusterName=cluster, MaxResults=100, **token, **asked)
        for event in page["Events"]:
            detail = client.describe_cluster_event(ClusterName=cluster, EventId=event["EventId"])["EventDetails"]
            found.append({**event, "metadata": detail.get("EventDetails", {}).get("EventMetadata", {})})
        if "NextToken" not in page:
            return found
        token = {"NextToken": page["NextToken"]}


def until(reached: Callable[[], Any], what: str = "it", timeout_s: float = DEADLINE_S) -> Any:
    """What `reached` answers, once that is true. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not (answer := reached()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} does not come")
        time.sleep(0.03)
    return answer


def settled(aws: Aws, cluster: str = "trainyard", timeout_s: float = DEADLINE_S) -> Document:
    """DescribeCluster, once it is InService with all the nodes it wants. Raises TimeoutError."""

    def reached() -> Document | None:
        shown = dict(aws.client("sagemaker").describe_cluster(ClusterName=cluster))
        full = all(group["CurrentCount"] == group["TargetCount"] for group in shown["InstanceGroups"])
        running = all(status == "Running" for status in statuses(aws, cluster).values())
        return shown if shown["ClusterStatus"] == "InService" and full and running else None

    found: Document = until(reached, f"cluster {cluster}", timeout_s)
    return found
