"""`fit` without a job file, or with other numbers than the file's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import trainyard_shell as shell
from cluster_capacity import label_of, toleration_of
from trainyard_job import Cluster, Request, Resources, Toleration

STANDS_FOR = {"name": "job", "run": "torchrun train.py"}
"""A job of which nobody has said what it is called and runs."""


@dataclass(frozen=True)
class Given:
    """Said on the command line: it counts before the file."""

    instance_type: str | None = None
    nodes: int | None = None
    procs_per_node: int | None = None
    node_selector: tuple[str, ...] = ()
    toleration: tuple[str, ...] = ()
    avoid_node: tuple[str, ...] = ()

    def over(self, request: Request) -> Request:
        """Raises SkillError usage: a label or a toleration that is none."""
        top = {"nodes": self.nodes, "procs_per_node": self.procs_per_node}
        changes: dict[str, Any] = {key: value for key, value in top.items() if value is not None}
        if self.instance_type:
            changes["resources"] = msgspec.structs.replace(request.resources or Resources(), instance_type=self.instance_type)
        cluster = request.cluster or Cluster()
        selector = {**cluster.node_selector, **dict(map(label_of, self.node_selector))}
        tolerations = [*cluster.tolerations, *map(_toleration, self.toleration)]
        avoids = [*cluster.avoid_nodes, *self.avoid_node]
        changes["cluster"] = msgspec.structs.replace(
            cluster, node_selector=selector, tolerations=tolerations, avoid_nodes=avoids
        )
        return msgspec.structs.replace(request, **changes)

    def alone(self) -> Request:
        """Where there is no file. A type that begins with ml. is asked of HyperPod's nodes. Raises SkillError usage."""
        if not self.instance_type:
            hint = "fit job.yaml, or fit --instance-type p5.48xlarge --nodes 2"
            raise shell.SkillError("usage", "missing: JOB_FILE or --instance-type", hint=hint)
        request = msgspec.convert(STANDS_FOR, Request)
        return msgspec.structs.replace(request, target="hyperpod" if self.instance_type.startswith("ml.") else "eks")


def _toleration(text: str) -> Toleration:
    try:
        return msgspec.convert(toleration_of(text), Toleration)
    except msgspec.ValidationError as error:
        raise shell.SkillError(
            "usage", f"cluster.tolerations (--toleration): {shell.clean(str(error), 200)}", hint="as in a job file"
        ) from error
