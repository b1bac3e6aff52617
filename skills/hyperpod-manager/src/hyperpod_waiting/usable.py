"""Whether a node can take a job again: SageMaker's status, Kubernetes' conditions, HyperPod's labels. What is not said is a no."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_nodes.joined import PREFIX, HyperPodNode
from hyperpod_repair.picture import Picture

WAITING, DONE, FAILED = "waiting", "done", "failed"
UNKNOWN = "unknown"
"""It cannot be told, and waiting does not change that."""
ACCELERATED = re.compile(r"ml\.(p|g|gr|trn|inf)\d")
"""Types on which HyperPod's health agents run, and label the node."""


@dataclass(frozen=True)
class Outcome:
    state: str
    text: str
    begun: bool = True
    """Whether anything shows that AWS is at it, or was."""
    instance_id: str | None = None
    """The instance that is there in the end."""
    node: str | None = None


def usable(picture: Picture, node: HyperPodNode, *, cordoned_by_us: bool = False) -> Outcome:
    instance = node.instance
    assert instance is not None
    called = instance.id or f"{instance.logical_id} (no instance yet)"
    if instance.status == "Failure":
        return Outcome(FAILED, f"{called}: Failure: {shell.clean(instance.message, 300) or 'AWS gives no reason'}")
    if instance.status != "Running":
        return Outcome(WAITING, f"{called} is {instance.status}")
    if picture.is_slurm:
        return Outcome(DONE, f"{called} is Running; whether Slurm has it, sinfo says", True, instance.id)
    if picture.unread:
        state = UNKNOWN if picture.for_good else WAITING
        return Outcome(
            state, f"{called} is Running, and Kubernetes cannot be asked: {shell.clean(picture.unread, 300)}", True, instance.id
        )
    if node.node is None:
        return Outcome(WAITING, f"{called} is Running, and not registered with Kubernetes yet")
    lack = lacking(picture, node, cordoned_by_us)
    if lack and lack.startswith("deep health check Failed"):
        return Outcome(FAILED, f"{called}: {lack}")
    if lack:
        return Outcome(WAITING, f"{called} is Running: {lack}")
    return Outcome(DONE, f"{called} is Running, Ready and Schedulable as {node.node_name}", True, instance.id, node.node_name)


def lacking(picture: Picture, node: HyperPodNode, cordoned_by_us: bool) -> str | None:
    """What keeps jobs away from a running node."""
    assert node.node is not None and node.instance is not None
    if not kube.holds(node.node, "Ready"):
        return "its node is not Ready"
    if node.node["spec"].get("unschedulable") and not cordoned_by_us:
        return f"its node is cordoned (kubectl uncordon {node.node_name})"
    health = kube.label(node.node, PREFIX + "node-health-status")
    tainted = any(each["key"] == PREFIX + "node-health-status" for each in node.node["spec"].get("taints") or [])
    if health not in (None, "Schedulable") or tainted:
        return f"node-health-status is {health or 'a taint'}"
    if health is None and ACCELERATED.match(node.instance.type):
        return "HyperPod's health agents have not labelled it yet"
    return _deep_check(picture, node)


def _deep_check(picture: Picture, node: HyperPodNode) -> str | None:
    assert node.node is not None and node.instance is not None
    group: dict[str, Any] = picture.cluster.groups.get(node.instance.group) or {}
    said = kube.label(node.node, PREFIX + "deep-health-check-status")
    if said in ("Failed", "InProgress"):
        return f"deep health check {said}"
    if group.get("OnStartDeepHealthChecks") and said != "Passed":
        return "the group asks for a deep health check, and none has passed yet"
    return None
