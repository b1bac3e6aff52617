"""list: the jobs of Trainyard in a namespace, of every kind that the cluster knows."""

from __future__ import annotations

from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_engines import ENGINES, conditions
from ptjob_find import Job

Object = dict[str, Any]


def list_jobs(cluster: kube.Cluster, limit: int) -> shell.Result:
    """Newest first. A kind that is not installed has no jobs; one that may not be listed is an unknown check."""
    jobs: list[Job] = []
    checks: list[shell.Check] = []
    for engine in ENGINES.values():
        with kube.noted(f"list.{engine.name}", checks, may_be_absent=True):
            found = cluster.list(engine.path(cluster), labelSelector=f"{kube.MANAGED}=trainyard")
            jobs += [Job(engine, thing) for thing in found]
    jobs.sort(key=lambda job: str(job.object["metadata"]["creationTimestamp"]), reverse=True)
    data = {"cluster": cluster.identity(), "total": len(jobs), "jobs": [row(job) for job in jobs[:limit]]}
    return shell.Result(data, checks=checks, truncated=len(jobs) > limit)


def row(job: Job) -> Object:
    return {
        "name": job.name,
        "engine": job.engine.name,
        "run_id": job.run_id,
        "nodes": job.engine.wanted(job.object),
        "state": state_by_conditions(job),
        "created": job.object["metadata"]["creationTimestamp"],
    }


def state_by_conditions(job: Job) -> str:
    """Without the pods: `active` is pending, running or restarting; `status NAME` tells which."""
    if ended := job.engine.ended(job.object):
        return ended[0]
    if job.engine.is_suspended(job.object):
        return "suspended"
    return "restarting" if "Restarting" in conditions(job.object) else "active"
