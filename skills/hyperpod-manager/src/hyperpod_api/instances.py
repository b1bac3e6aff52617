"""The instances of a cluster, as ListClusterNodes has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hyperpod_api.calls import Document, SageMaker
from hyperpod_api.cluster import HyperPodCluster

PAGE = 100


@dataclass(frozen=True)
class Instance:
    listed: Document

    @property
    def id(self) -> str | None:
        """i-...; None as long as a logical node has no instance."""
        return self.listed.get("InstanceId") or None

    @property
    def logical_id(self) -> str | None:
        """Stays when the instance is replaced; only of continuous clusters."""
        return self.listed.get("NodeLogicalId") or None

    @property
    def group(self) -> str:
        return str(self.listed["InstanceGroupName"])

    @property
    def type(self) -> str:
        """With `ml.`"""
        return str(self.listed["InstanceType"])

    @property
    def status(self) -> str:
        return str(self.listed["InstanceStatus"]["Status"])

    @property
    def message(self) -> str:
        return str(self.listed["InstanceStatus"].get("Message") or "")


def instances(sagemaker: SageMaker, cluster: HyperPodCluster, group: str | None = None) -> list[Instance]:
    """All pages. Raises AwsError."""
    chosen: dict[str, Any] = {"InstanceGroupNameContains": group} if group else {}
    if cluster.is_continuous:
        chosen["IncludeNodeLogicalIds"] = True
    pages = sagemaker.pages(
        "list_cluster_nodes",
        f"list the nodes of {cluster.name}",
        cluster.arn,
        ClusterName=cluster.name,
        MaxResults=PAGE,
        **chosen,
    )
    found = [Instance(each) for page in pages for each in page["ClusterNodeSummaries"]]
    return [each for each in found if group in (None, each.group)]
