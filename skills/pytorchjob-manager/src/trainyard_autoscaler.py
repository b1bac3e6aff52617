"""What an autoscaler says about pods that find no node: Karpenter and Cluster Autoscaler tell it in events about the pod.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import Cluster, Object
from trainyard_pods import Finding

COMING, NOT_COMING = "nodes.coming", "nodes.not-coming"
SAYS: list[tuple[str, str, str]] = [
    (r"TriggeredScaleUp: ", COMING, "wait: the pod starts on the new node. kubectl get nodes -w shows when it joins; if none joins, check the cloud account's quota"),
    (r"Nominated: Pod should schedule on", COMING, "wait: the pod starts on the new node; kubectl get nodeclaims says how far it is"),
    (r"NotTriggerScaleUp: ", NOT_COMING, "no node group fits these pods, or every group is at its maximum size: manage_cluster.py fit names each; ask the group's administrator to raise the maximum"),
    (r"FailedScheduling: Failed to schedule pod", NOT_COMING, "kubectl get nodepools: their requirements, taints and limits; cluster-manager fit names each"),
    (r"(FailedScaleUp|InsufficientCapacity|InsufficientCapacityError)", NOT_COMING, "the cloud has no such machine now: another zone or instance type, or wait"),
]  # fmt: skip
"""(reason and message, finding, what to do)."""
MAX_EVENTS = 50
MAX_LOOKED_AT = 2
"""Pods of a job are alike: what is said of the first is said of all."""


def nodes_to_come(cluster: Cluster, pods: Iterable[Object]) -> list[Finding]:
    """What is waited for, by the newest word of an autoscaler about a pod without a node. [] where none said anything, or where
    events may not be read."""
    for pod in [pod for pod in pods if is_unscheduled(pod)][:MAX_LOOKED_AT]:
        try:
            field = f"involvedObject.uid={pod['metadata'].get('uid')}"
            events = cluster.get(cluster.namespaced("v1", "events"), fieldSelector=field, limit=MAX_EVENTS)["items"] or []
        except kube.ApiError:
            return []
        said = [each for event in sorted(events, key=_time, reverse=True) if (each := _finding(event, kube.name(pod)))]
        if said:
            return said[:1]
    return []


def is_unscheduled(pod: Object) -> bool:
    found = (each for each in kube.conditions(pod) if each["type"] == "PodScheduled")
    return any(each["status"] == "False" for each in found) and not pod["spec"].get("nodeName")


def _time(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _finding(event: Object, pod: str) -> Finding | None:
    text = f"{event.get('reason')}: {event.get('message')}"
    row = next((row for row in SAYS if re.match(row[0], text, re.DOTALL)), None)
    if row is None:
        return None
    what = "an autoscaler adds nodes" if row[1] == COMING else "an autoscaler is there and adds no node"
    return Finding(row[1], f"{what}: {shell.clean(text, 300)} (pod {pod})", row[2])
