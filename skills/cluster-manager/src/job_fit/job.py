"""What a job file, a request or a few options ask of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trainyard_request
import trainyard_shell as shell
from cluster_amounts import amount
from job_fit.given import STANDS_FOR, Given
from trainyard_job import Cluster, Limits, Request, Resources


@dataclass(frozen=True)
class Job:
    """A request; a section that it leaves out stands here with its defaults."""

    request: Request
    cluster: Cluster
    resources: Resources


def read_job(path: Path | str | None, given: Given | None = None) -> Job:
    """Raises SkillError: not-found, permission, usage (not YAML, a key that is not what it must be, or nothing was asked)."""
    given = given or Given()
    request = given.over(trainyard_request.read(path, without=STANDS_FOR) if path is not None else given.alone())
    resources = request.resources or Resources()
    _check_limits(resources, resources.limits or Limits())
    return Job(request, request.cluster or Cluster(), resources)


def _check_limits(resources: Resources, limits: Limits) -> None:
    """Kubernetes refuses a limit below the request."""
    for key in ("cpu", "memory"):
        limit, asked = getattr(limits, key), getattr(resources, key)
        if limit is None:
            continue
        if asked != "auto" and amount(key, asked) > amount(key, limit):
            message = f"$.resources.limits.{key}: {limit} is less than the {asked} of resources.{key}"
            raise shell.SkillError("usage", message, hint=f"resources.{key}: at most its limit")
