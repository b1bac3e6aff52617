"""A HyperPod cluster as DescribeCluster has it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import trainyard_shell as shell

from hyperpod_api.calls import Document, SageMaker

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}|arn:[a-z0-9-]+:sagemaker:[a-z0-9-]+:\d{12}:cluster/[a-z0-9]{12}")


@dataclass(frozen=True)
class HyperPodCluster:
    described: Document

    @property
    def name(self) -> str:
        return str(self.described["ClusterName"])

    @property
    def arn(self) -> str:
        return str(self.described["ClusterArn"])

    @property
    def id(self) -> str:
        """The last word of the ARN, as SSM's targets have it."""
        return self.arn.rpartition("/")[2]

    @property
    def status(self) -> str:
        """Creating, Deleting, Failed, InService, RollingBack, SystemUpdating or Updating."""
        return str(self.described["ClusterStatus"])

    @property
    def orchestrator(self) -> str:
        """eks or slurm: DescribeCluster names an orchestrator only where it is EKS."""
        return "eks" if "Eks" in (self.described.get("Orchestrator") or {}) else "slurm"

    @property
    def eks_arn(self) -> str | None:
        eks = (self.described.get("Orchestrator") or {}).get("Eks") or {}
        return eks.get("ClusterArn")

    @property
    def is_continuous(self) -> bool:
        """Continuous provisioning: nodes come and go one by one, with events and logical ids."""
        return self.described.get("NodeProvisioningMode") == "Continuous"

    @property
    def recovers_by_itself(self) -> bool:
        return self.described.get("NodeRecovery") == "Automatic"

    @property
    def groups(self) -> dict[str, Document]:
        """Instance groups by name, ordinary and restricted."""
        listed = [*(self.described.get("InstanceGroups") or []), *(self.described.get("RestrictedInstanceGroups") or [])]
        return {str(group["InstanceGroupName"]): group for group in listed}


def find(sagemaker: SageMaker, name: str | None) -> HyperPodCluster:
    """The cluster of that name or ARN; None: the region's only one. Raises SkillError usage, not-found; AwsError."""
    named = name or only_one(sagemaker)
    if not NAME.fullmatch(named):
        raise shell.SkillError(
            "usage", f"{shell.clean(named, 80)!r} is not a cluster's name or ARN", hint="`clusters` lists them"
        )
    with sagemaker.asking(f"describe the cluster {named}", named if named.startswith("arn:") else "*"):
        return HyperPodCluster(sagemaker.reading.describe_cluster(ClusterName=named))


def only_one(sagemaker: SageMaker) -> str:
    names = [
        each["ClusterName"] for page in sagemaker.pages("list_clusters", "list clusters") for each in page["ClusterSummaries"]
    ]
    if len(names) == 1:
        return str(names[0])
    if not names:
        raise shell.SkillError(
            "not-found", f"there is no HyperPod cluster in {sagemaker.region}", hint="--region, or AWS_PROFILE"
        )
    shown = ", ".join(sorted(names)[:20])
    raise shell.SkillError("usage", f"{len(names)} clusters in {sagemaker.region}: {shown}", hint="name one of them")
