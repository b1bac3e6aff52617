"""Whether the image's user may write to the job's volume: known beforehand where the image is built from a Dockerfile that says its user."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trainyard_shell as shell
from trainyard_job import Cluster, Security

if TYPE_CHECKING:
    from deployment import Deployment

ROOT = ("0", "root")


def check(deployment: Deployment) -> list[shell.Check]:
    """A warning, for the driver's own settings decide: shared-docs/decisions/0026-whose-a-volume-is.md."""
    answers, security = deployment.answers, (deployment.job.cluster or Cluster()).security or Security()
    user = str(answers["plan"].data.get("user") or "") if "plan" in answers else ""
    if not user or user.partition(":")[0] in ROOT or security.run_as_user is not None or security.fs_group is not None:
        return []
    volume = answers["storage"].data if "storage" in answers else {}
    existing = deployment.job.checkpoints.storage is not None and deployment.job.checkpoints.storage.claim
    if volume.get("access_mode") != "ReadWriteMany" and not existing:
        return []
    of_driver = f" of {volume['driver']}" if volume.get("driver") else ""
    whose = "may belong to somebody else" if existing else "belongs to root, and for several nodes Kubernetes may leave it so"
    summary = f"the Dockerfile ends as user {user}; the volume{of_driver} {whose}"
    fix = "cluster: {security: {run_as_user: 0}}; or fs_group, where the driver applies it; an EFS access point needs neither"
    return [shell.Check("volume.owner", "warn", shell.clean(summary, 300), fix=fix)]
