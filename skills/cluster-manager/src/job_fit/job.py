"""What a job file or a request asks of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from cluster_amounts import amount

if TYPE_CHECKING:
    from trainyard_job import Request


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a job file asks of a cluster. None: the file leaves it to us (`auto`)."""

    engine: str
    nodes: int
    procs_per_node: int | None
    instance_type: str | None
    cpu: str | None
    memory: str | None
    shm: str | None
    network: str
    context: str | None
    namespace: str | None
    selector: dict[str, str]
    tolerations: tuple[dict[str, Any], ...]
    priority: str | None
    queue: str | None
    storage: dict[str, Any] | None


def read_job(path: Path | str) -> Job:
    """Raises SkillError: not-found, permission, usage (not YAML, or a key that is not what it must be)."""
    import trainyard_request

    return job_of(trainyard_request.read(path, without={"name": "job", "run": "true"}))


def job_of(request: Request) -> Job:
    import msgspec
    from trainyard_job import Cluster, Resources

    cluster, resources = request.cluster or Cluster(), request.resources or Resources()
    storage = request.checkpoints.storage
    return Job(
        engine=request.engine or "pytorchjob",
        nodes=request.nodes,
        procs_per_node=None if request.procs_per_node == "auto" else request.procs_per_node,
        instance_type=resources.instance_type,
        cpu=_quantity("cpu", "cpu", resources.cpu),
        memory=_quantity("memory", "memory", resources.memory),
        shm=_quantity("shm", "memory", resources.shm),
        network=request.network,
        context=cluster.context,
        namespace=cluster.namespace,
        selector=cluster.node_selector,
        tolerations=tuple(msgspec.to_builtins(each) for each in cluster.tolerations),
        priority=cluster.priority,
        queue=cluster.queue,
        storage=msgspec.to_builtins(storage) if storage else None,
    )


def _quantity(key: str, resource: str, value: str) -> str | None:
    """None for auto. Raises SkillError usage with the key's path."""
    if value != "auto" and amount(resource, value) <= 0:
        raise shell.SkillError("usage", f"$.resources.{key}: expected more than nothing, got {value}")
    return None if value == "auto" else value
