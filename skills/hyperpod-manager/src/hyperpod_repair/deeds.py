"""What can be done to nodes: AWS's operation, what it destroys, how long it takes, and what its refusals mean."""

from __future__ import annotations

from dataclasses import dataclass

ROOT, SECONDARY = "the root volume", "the secondary EBS volume, with /opt/sagemaker"
NVME = "local NVMe disks"
HOST_PATHS = "whatever lies in hostPath and emptyDir volumes: checkpoints that are on no claim, image and compile caches"


@dataclass(frozen=True)
class Deed:
    verb: str
    operation: str
    past: str
    destroys: tuple[str, ...]
    takes: str
    per_call: int
    comes_back: bool
    """The same node is there again afterwards, and is uncordoned."""
    timeout_s: float


REBOOT = Deed("reboot", "batch_reboot_cluster_nodes", "rebooted", (), "1-3 minutes a node", 25, True, 900)
REPLACE = Deed(
    "replace",
    "batch_replace_cluster_nodes",
    "replaced",
    (ROOT, SECONDARY, NVME, HOST_PATHS),
    "20-30 minutes per node, and longer while AWS has no such instance free",
    25,
    False,
    2400,
)
DELETE = Deed(
    "delete", "batch_delete_cluster_nodes", "deleted", (ROOT, SECONDARY, NVME, HOST_PATHS), "some minutes", 99, False, 2400
)
MOVE = Deed(
    "move",
    "move_cluster_nodes",
    "moved",
    (ROOT, SECONDARY, HOST_PATHS),
    "some minutes a node: it runs the target group's lifecycle scripts; instance and IP stay",
    50,
    False,
    2400,
)
DEEDS = {each.verb: each for each in (REBOOT, REPLACE, DELETE, MOVE)}

REFUSALS = {
    "InstanceIdNotFound": ("the cluster has no such instance: it was replaced or deleted", "nodes {cluster}"),
    "InvalidInstanceStatus": ("its status does not allow it: something is being done to it", "wait {cluster} --node {id}"),
    "InstanceIdInUse": ("another operation on it is in progress", "wait {cluster} --node {id}"),
    "InternalServerError": ("AWS failed at it, and did not say whether it began", "wait {cluster} --node {id}"),
    "NodeInstanceTypeMismatch": ("the target group has another instance type", "clusters"),
}
ALIASES = {
    "NodeIdNotFound": "InstanceIdNotFound",
    "InvalidNodeStatus": "InvalidInstanceStatus",
    "NodeIdInUse": "InstanceIdInUse",
}
UNNAMED = "Unnamed"
"""A node that the answer names neither as done nor as failed."""


def meaning(code: str) -> tuple[str, str]:
    """In words, and the next call."""
    if code == UNNAMED:
        return "the answer does not name it: whether AWS took it is unknown", "wait {cluster} --node {id}"
    return REFUSALS.get(ALIASES.get(code, code), (f"AWS says {code}", "nodes {cluster}"))
