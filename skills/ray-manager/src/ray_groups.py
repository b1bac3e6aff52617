"""What a RayCluster asks for, group by group, by KubeRay's own arithmetic (v1.6.1, controllers/ray/utils/util.go)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from trainyard_kube import Object

HEAD_GROUP = "headgroup"
"""The head's value of the label ray.io/group; a worker's is the name of its group."""
START_COMMAND = "KUBERAY_GEN_RAY_START_CMD"
ACCELERATOR = re.compile(r"(?:.*/)?(?:[^/]*gpu|mig-[^/]+|gpu\.shared|neuron|neuroncore|neurondevice|tpu)")
"""Of a Kubernetes resource: what KubeRay counts as GPUs (utils.IsGPUResourceKey), shares of one, Neuron, TPU."""


@dataclass(frozen=True)
class Group:
    """The head, or one worker group."""

    name: str
    nodes: int
    """Ray nodes that it wants now."""
    suspended: int
    """Those that it would want if it were not suspended."""
    accelerators: dict[str, int]
    """Of each of its nodes: resource -> number."""
    container: str
    """Of its Ray node: the first of the template."""
    takes_tasks: bool
    """False: its rayStartParams say that it has no CPU, as a head is often kept free."""


def groups_of(spec: Object) -> list[Group]:
    """Of a RayCluster's spec, the head first; [] where there is none."""
    if not spec:
        return []
    workers = [_group(str(group.get("groupName")), group, _replicas(group)) for group in spec.get("workerGroupSpecs") or []]
    return [_group(HEAD_GROUP, spec["headGroupSpec"], 1), *workers]


def wanted_nodes(spec: Object) -> int:
    """The Ray nodes that the cluster asks for now."""
    return sum(group.nodes for group in groups_of(spec))


def training_nodes(spec: Object) -> tuple[int, int]:
    """(nodes, processes a node) for one process group: a process for each accelerator of the nodes that have some; where none has,
    one for each node that takes tasks."""
    groups = [group for group in groups_of(spec) if group.nodes]
    with_some = [group for group in groups if group.accelerators]
    chosen = with_some or [group for group in groups if group.takes_tasks]
    procs = min((sum(group.accelerators.values()) for group in with_some), default=1)
    return sum(group.nodes for group in chosen), procs


def _group(name: str, group: Object, nodes: int) -> Group:
    containers = group.get("template", {}).get("spec", {}).get("containers") or [{}]
    now, later = (0, nodes) if group.get("suspend") else (nodes, 0)
    free = str((group.get("rayStartParams") or {}).get("num-cpus")) == "0"
    return Group(name, now, later, accelerators(containers[0]), str(containers[0].get("name")), not free)


def _replicas(group: Object) -> int:
    """Pods of a worker group; Ray's autoscaler may have written too few or too many into it, and KubeRay keeps to the bounds."""
    least, most = group.get("minReplicas") or 0, group.get("maxReplicas", math.inf)
    return int(min(max(group.get("replicas") or 0, least), most)) * int(group.get("numOfHosts", 1))


# --- a container of a pod ----------------------------------------------------------------------------------------


def ray_container(pod: Object) -> Object:
    """The container that is a Ray node, whatever its name: KubeRay takes the first of the template and writes its command into that
    one's environment. A sidecar that a webhook injects may stand before it in the pod."""
    containers: list[Object] = pod["spec"]["containers"]
    return next((each for each in containers if start_command(each) is not None), containers[0])


def start_command(container: Object) -> str | None:
    """`ray start ...` as KubeRay put it together."""
    told = (each.get("value") or "" for each in container.get("env") or [] if each["name"] == START_COMMAND)
    return next(told, None)


def accelerators(container: Object) -> dict[str, int]:
    """GPUs, slices of them, Neuron cores and the like of its limits: resource -> number."""
    from kubernetes.utils.quantity import parse_quantity

    limits: dict[str, Any] = container.get("resources", {}).get("limits") or {}
    found = {name: int(parse_quantity(amount)) for name, amount in limits.items() if ACCELERATOR.fullmatch(name)}
    return {name: number for name, number in found.items() if number}
