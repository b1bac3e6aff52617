"""What is known about storage by the name of its driver, and which class is the default: for whoever asks where a volume can be.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
RWX, RWO, RWOP, ROX = "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod", "ReadOnlyMany"
STATIC = "kubernetes.io/no-provisioner"
"""A class of volumes that somebody made beforehand."""
IN_TREE = {"kubernetes.io/aws-ebs": "ebs.csi.aws.com"}
"""Names from before CSI; Kubernetes hands these volumes to the driver on the right."""


@dataclass(frozen=True)
class Kind:
    title: str
    shared: bool
    """Pods of several nodes may write to one volume."""
    addon: str
    """The EKS add-on that brings the driver."""
    one_zone: bool = False
    """A volume can be reached well from one availability zone only."""
    no_checkpoints: str = ""
    """Why checkpoints must not lie there; empty: they may."""
    least_size: str = "100Gi"


KINDS = {
    # The smallest file system that FSx for Lustre offers; the driver rounds smaller wishes up.
    "fsx.csi.aws.com": Kind("FSx for Lustre", True, "aws-fsx-csi-driver", one_zone=True, least_size="1200Gi"),
    "efs.csi.aws.com": Kind("EFS", True, "aws-efs-csi-driver"),
    "ebs.csi.aws.com": Kind("EBS", False, "aws-ebs-csi-driver", one_zone=True),
    "s3.csi.aws.com": Kind(
        "Mountpoint for S3",
        True,
        "aws-mountpoint-s3-csi-driver",
        no_checkpoints="a checkpoint is written under a temporary name and renamed, and Mountpoint for S3 cannot rename on "
        "general-purpose buckets",
    ),
}


def driver_of(provisioner: str) -> str:
    return IN_TREE.get(provisioner, provisioner)


def attaches_to_one_node(provisioner: str) -> bool:
    """Known for certain; False where nothing is known."""
    kind = KINDS.get(driver_of(provisioner))
    return kind is not None and not kind.shared


def default_class(classes: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """Of several that are marked Kubernetes takes the newest."""
    marked = [each for each in classes if (each["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"]
    return max(marked, key=lambda each: str(each["metadata"]["creationTimestamp"]), default=None)


def title(driver: str | None) -> str:
    kind = KINDS.get(driver or "")
    return f"{kind.title} ({driver})" if kind else driver or "a volume made beforehand"
