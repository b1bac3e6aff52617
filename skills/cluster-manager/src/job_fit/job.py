"""What a job file or a request asks of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trainyard_request
import trainyard_shell as shell
from cluster_amounts import amount
from trainyard_job import Cluster, Request, Resources


@dataclass(frozen=True)
class Job:
    """A request; a section that it leaves out stands here with its defaults."""

    request: Request
    cluster: Cluster
    resources: Resources


def read_job(path: Path | str) -> Job:
    """Raises SkillError: not-found, permission, usage (not YAML, or a key that is not what it must be)."""
    request = trainyard_request.read(path, without={"name": "job", "run": "true"})
    resources = request.resources or Resources()
    for key, resource in (("cpu", "cpu"), ("memory", "memory"), ("shm", "memory")):
        value = getattr(resources, key)
        if value != "auto" and amount(resource, value) <= 0:
            raise shell.SkillError("usage", f"$.resources.{key}: expected more than nothing, got {value}")
    return Job(request, request.cluster or Cluster(), resources)
