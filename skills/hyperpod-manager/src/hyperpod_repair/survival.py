"""What becomes of a run of ours when its node goes: is its checkpoint elsewhere, does its pod come back, and is there room?"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import trainyard_kube as kube

from hyperpod_nodes.joined import HyperPodNode
from hyperpod_repair.occupants import Pod, pods_on
from hyperpod_repair.picture import Picture

REMADE_BY = {"PyTorchJob", "Job", "HyperPodPyTorchJob", "RayCluster", "StatefulSet"}
"""Kinds whose controller makes a pod anew."""
CHECKPOINTS = "TRAINYARD_CHECKPOINTS"
LOOKED_AT = 20
DEFAULT_GRACE_S = 30


def run_of(picture: Picture, pods: list[Pod], leaving: list[HyperPodNode]) -> dict[str, Any]:
    """`pods`: those of one run on the nodes that leave. `survives` is whether its checkpoint and its pods outlive them."""
    first = pods[0]
    kept = all(checkpoints_on_a_claim(pod) for pod in pods)
    remade = all(made_by(pod) in REMADE_BY for pod in pods)
    free, more = free_nodes(picture, first, leaving)
    return {
        "run": kube.label(first, kube.RUN),
        "run_id": kube.owner(first),
        "namespace": first["metadata"]["namespace"],
        "pods": [kube.name(pod) for pod in pods],
        "checkpoints": "on a volume claim" if kept else "not on a volume claim: they are lost with the node",
        "pods_come_back": remade,
        "free_nodes": f"{len(free)}{' or more' if more else ''}",
        "survives": kept and remade,
        "then": what_then(kept, remade, len(free), len(pods)),
    }


def what_then(kept: bool, remade: bool, free: int, wanted: int) -> str:
    if not kept:
        return "it begins again at step 0"
    if not remade:
        return "its checkpoint stays, and nothing makes its pod anew: start it again with `deploy.py resume`"
    if free < wanted:
        return "it saves and stops, and waits for a free node: the replacement, or another one"
    return "it saves and stops, and goes on at that step on another node"


def made_by(pod: Pod) -> str | None:
    owners = pod["metadata"].get("ownerReferences") or []
    return next((str(owner["kind"]) for owner in owners if owner.get("controller")), None)


def grace_s(pod: Pod) -> float:
    given = pod["spec"].get("terminationGracePeriodSeconds")
    return float(DEFAULT_GRACE_S if given is None else given)


def checkpoints_on_a_claim(pod: Pod) -> bool:
    """Whether the folder that the run saves to lies on a PersistentVolumeClaim. What the pod does not say is a no."""
    claims = {volume["name"] for volume in pod["spec"].get("volumes") or [] if volume.get("persistentVolumeClaim")}
    for container in pod["spec"]["containers"]:
        said = {each["name"]: each.get("value") for each in container.get("env") or []}
        folder = said.get(CHECKPOINTS)
        if folder:
            mounts = [
                each for each in container.get("volumeMounts") or [] if PurePosixPath(folder).is_relative_to(each["mountPath"])
            ]
            deepest = max(mounts, key=lambda each: len(each["mountPath"]), default=None)
            return bool(deepest and deepest["name"] in claims)
    return False


# --- is there room? ----------------------------------------------------------------------------------------------


def free_nodes(picture: Picture, pod: Pod, leaving: list[HyperPodNode]) -> tuple[list[str], bool]:
    """Nodes that would take the pod by labels, taints and devices, and whether there may be more than were looked at."""
    assert picture.kubernetes is not None
    gone = {node.node_name for node in leaving}
    able = [
        each.node
        for each in picture.nodes
        if each.node and each.instance and each.node_name not in gone and takes(each.node, pod)
    ]
    wanted = devices(pod)
    found = [kube.name(node) for node in able[:LOOKED_AT] if not wanted or has_room(picture.kubernetes, node, wanted)]
    return found, len(able) > LOOKED_AT


def takes(node: dict[str, Any], pod: Pod) -> bool:
    labels = node["metadata"].get("labels") or {}
    selector = pod["spec"].get("nodeSelector") or {}
    tolerated = pod["spec"].get("tolerations") or []
    taints = [each for each in node["spec"].get("taints") or [] if each["effect"] != "PreferNoSchedule"]
    right = all(labels.get(name) == value for name, value in selector.items())
    free = not node["spec"].get("unschedulable") and kube.holds(node, "Ready")
    return right and free and all(any(tolerates(each, taint) for each in tolerated) for taint in taints)


def tolerates(toleration: dict[str, Any], taint: dict[str, Any]) -> bool:
    """Kubernetes' rule: no key with Exists is every taint, no effect is every effect."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    exists = toleration.get("operator") == "Exists"
    if not toleration.get("key"):
        return exists
    return toleration["key"] == taint["key"] and (exists or (toleration.get("value") or "") == (taint.get("value") or ""))


def devices(pod: Pod) -> dict[str, int]:
    """Extended resources (nvidia.com/gpu and their like): whole numbers, and what a training node is short of."""
    found: dict[str, int] = {}
    for container in pod["spec"]["containers"]:
        for name, amount in ((container.get("resources") or {}).get("limits") or {}).items():
            if "/" in name and str(amount).isdigit():
                found[name] = found.get(name, 0) + int(amount)
    return found


def has_room(kubernetes: kube.Cluster, node: dict[str, Any], wanted: dict[str, int]) -> bool:
    used: dict[str, int] = {}
    for pod in pods_on(kubernetes, kube.name(node)):
        for name, amount in devices(pod).items():
            used[name] = used.get(name, 0) + amount
    offered = kube.status(node).get("allocatable") or {}
    return all(int(offered.get(name, 0)) - used.get(name, 0) >= amount for name, amount in wanted.items())
