"""`clusters`: those of a region."""

from __future__ import annotations

import trainyard_shell as shell

from hyperpod_api import cluster
from hyperpod_api.calls import Document, SageMaker


def list_clusters(sagemaker: SageMaker) -> shell.Result:
    """Raises AwsError."""
    pages = sagemaker.pages("list_clusters", "list clusters")
    names = [str(each["ClusterName"]) for page in pages for each in page["ClusterSummaries"]]
    found = [shown(cluster.find(sagemaker, name)) for name in names]
    next = [f"manage_hyperpod.py nodes {each['name']} --region {sagemaker.region}" for each in found[:3]]
    return shell.Result({"region": sagemaker.region, "clusters": found}, next=next)


def shown(found: cluster.HyperPodCluster) -> Document:
    groups = [
        {
            "name": name,
            "instance_type": group.get("InstanceType"),
            "current": group.get("CurrentCount"),
            "target": group.get("TargetCount"),
            "status": group.get("Status"),
        }
        for name, group in found.groups.items()
    ]
    return {
        "name": found.name,
        "arn": found.arn,
        "status": found.status,
        "orchestrator": found.orchestrator,
        "eks_cluster": found.eks_arn,
        "continuous_provisioning": found.is_continuous,
        "node_recovery": "automatic" if found.recovers_by_itself else "none",
        "groups": groups,
    }
