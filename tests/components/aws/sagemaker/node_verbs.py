"""Nodes: listed, described, added, deleted, replaced, rebooted. What fails for one node is said in an answer with status 200."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tests.components.aws.sagemaker import life, scaling
from tests.components.aws.sagemaker.entering import HyperPodCall, verb
from tests.components.aws.sagemaker.records import Cluster, Document, Node
from tests.components.aws.sagemaker.shown import node_detail, node_summary, ordered, page
from tests.components.aws.wire.refused import Refused

STAYS_RUNNING = ("Running", "Failure")
"""Statuses in which a node may be replaced, rebooted or deleted."""
MOST_ADDED = 50


@verb
def list_cluster_nodes(call: HyperPodCall) -> Document:
    cluster, request = call.cluster, call.request
    shown = [node for node in cluster.nodes if node.instance_id or request.get("IncludeNodeLogicalIds")]
    shown = [node for node in shown if request.get("InstanceGroupNameContains", "") in node.group]
    found = ordered(shown, request, lambda node: node.launched_at, lambda node: node.group, "Ascending")
    return page(found, request, "ClusterNodeSummaries", node_summary)


@verb
def describe_cluster_node(call: HyperPodCall) -> Document:
    given = [call.request[name] for name in ("NodeId", "NodeLogicalId") if name in call.request]
    if len(given) != 1:
        raise Refused("ValidationException", "Specify exactly one of NodeId and NodeLogicalId.")
    cluster = call.cluster
    return {"NodeDetails": node_detail(cluster, call.state.node(cluster, given[0]))}


@verb
def batch_add_cluster_nodes(call: HyperPodCall) -> Document:
    """The same token and request again: the same nodes, as they are now."""
    cluster, request = call.cluster, call.request
    if not cluster.continuous:
        raise Refused("ValidationException", "BatchAddClusterNodes requires the Continuous NodeProvisioningMode.")
    if sum(each["IncrementTargetCountBy"] for each in request["NodesToAdd"]) > MOST_ADDED:
        raise Refused("ValidationException", f"At most {MOST_ADDED} nodes can be added in a request.")
    kept = call.state.answered("BatchAddClusterNodes", call.region, request)
    if kept is None:
        kept = add(call, cluster)
        call.state.keep_answer("BatchAddClusterNodes", call.region, request, kept)
    nodes, failed = kept
    return {"Successful": [added(cluster, each) for each in nodes], "Failed": failed}


def added(cluster: Cluster, node: Node) -> Document:
    now = cluster.find(node.logical_id)
    return {"NodeLogicalId": node.logical_id, "InstanceGroupName": node.group, "Status": now.status if now else "NotFound"}


def add(call: HyperPodCall, cluster: Cluster) -> tuple[list[Node], list[Document]]:
    """Raises Refused (ResourceLimitExceeded) before anything is added."""
    fitting, failed = [], []
    for each in call.request["NodesToAdd"]:
        code = unfit(cluster, each)
        if code:
            name, count = each["InstanceGroupName"], each["IncrementTargetCountBy"]
            failed.append({"InstanceGroupName": name, "ErrorCode": code, "FailedCount": count, "Message": f"{code}: {name}"})
        else:
            fitting.append(each)
    more: dict[str, int] = {}
    for each in fitting:
        type = cluster.groups[each["InstanceGroupName"]].types[0]
        more[type] = more.get(type, 0) + each["IncrementTargetCountBy"]
    scaling.check_quota(call.state, call.region, more)
    before = set(cluster.nodes)
    targets: dict[str, int] = {}
    for each in fitting:
        name = each["InstanceGroupName"]
        targets[name] = targets.get(name, cluster.groups[name].target) + each["IncrementTargetCountBy"]
    scaling.aim(call.state, cluster, targets, watched=False)
    return [node for node in cluster.nodes if node not in before], failed


def unfit(cluster: Cluster, wanted: Document) -> str:
    group = cluster.groups.get(wanted["InstanceGroupName"])
    if group is None:
        return "InstanceGroupNotFound"
    if cluster.status != "InService" or group.status in ("Deleting", "Failed", "SystemUpdating"):
        return "InvalidInstanceGroupStatus"
    if set(wanted.get("InstanceTypes", [])) - set(group.types):
        return "IncompatibleInstanceTypes"
    zones = {f"{cluster.region}a", f"{cluster.region}b"}
    return "IncompatibleAvailabilityZones" if set(wanted.get("AvailabilityZones", [])) - zones else ""


@dataclass
class Codes:
    """The error codes of one operation: they have two spellings."""

    absent: str
    status: str
    in_use: str
    internal: str = ""
    member: str = "ErrorCode"


BY_INSTANCE = Codes("InstanceIdNotFound", "InvalidInstanceStatus", "InstanceIdInUse", "InternalServerError")
BY_NODE = Codes("NodeIdNotFound", "InvalidNodeStatus", "NodeIdInUse", member="Code")


@dataclass
class Asked:
    """What is done, and what is not, to the nodes of a batch call."""

    successful: list[str] = field(default_factory=list)
    failed: list[Document] = field(default_factory=list)
    logical: list[str] = field(default_factory=list)
    logical_failed: list[Document] = field(default_factory=list)

    def document(self) -> Document:
        """Lists that are empty are not there."""
        named = (
            ("Successful", self.successful),
            ("Failed", self.failed),
            ("SuccessfulNodeLogicalIds", self.logical),
            ("FailedNodeLogicalIds", self.logical_failed),
        )
        return {name: value for name, value in named if value}


def each_node(call: HyperPodCall, cluster: Cluster, codes: Codes, do: Callable[[Node], None]) -> Document:
    """`do` for every node that may; a code for every other. Raises Refused where no node is named."""
    ids, logical = call.request.get("NodeIds", []), call.request.get("NodeLogicalIds", [])
    if not ids and not logical:
        raise Refused("ValidationException", "At least one of NodeIds or NodeLogicalIds must be provided.")
    if logical and not cluster.continuous:
        raise Refused("ValidationException", "NodeLogicalIds requires the Continuous NodeProvisioningMode.")
    asked = Asked()
    for id in ids:
        node = next((node for node in cluster.nodes if node.instance_id == id), None)
        one(call, cluster, codes, do, node, "NodeId", id, asked.successful, asked.failed)
    for id in logical:
        node = next((node for node in cluster.nodes if node.logical_id == id), None)
        one(call, cluster, codes, do, node, "NodeLogicalId", id, asked.logical, asked.logical_failed)
    return asked.document()


def one(
    call: HyperPodCall,
    cluster: Cluster,
    codes: Codes,
    do: Callable[[Node], None],
    node: Node | None,
    member: str,
    id: str,
    successful: list[str],
    failed: list[Document],
) -> None:
    code, text = refusal(call, cluster, codes, node)
    if code or node is None:
        failed.append({member: id, codes.member: code, "Message": text})
    else:
        do(node)
        successful.append(id)


def refusal(call: HyperPodCall, cluster: Cluster, codes: Codes, node: Node | None) -> tuple[str, str]:
    """(code, message), or two empty ones."""
    if node is None:
        return codes.absent, f"The instance does not exist in cluster '{cluster.name}'."
    kinds = ("in_use", "internal") if codes.internal else ("in_use",)
    if fault := call.state.faults.take(kinds, cluster.name, node.group, *node.ids):
        code = codes.in_use if fault.kind == "in_use" else codes.internal
        return code, fault.message or f"{code}: another operation is in progress for this node."
    if node.busy in ("replace", "reboot", "delete", "move"):
        return codes.in_use, "Another operation is already in progress for this node. Wait for the operation to complete."
    if node.status not in STAYS_RUNNING and not (codes is BY_NODE and node.status == "Pending"):
        return codes.status, f"The instance is in {node.status} status, which does not allow this operation."
    return "", ""


def patched(cluster: Cluster) -> None:
    """Raises Refused."""
    if not cluster.patched:
        raise Refused(
            "ValidationException",
            f"Cluster '{cluster.name}' must be patched first: run UpdateClusterSoftware before you call this operation.",
        )


@verb
def batch_replace_cluster_nodes(call: HyperPodCall) -> Document:
    cluster = call.cluster
    patched(cluster)
    return each_node(call, cluster, BY_INSTANCE, lambda node: life.replace(call.state, cluster, node))


@verb
def batch_reboot_cluster_nodes(call: HyperPodCall) -> Document:
    cluster = call.cluster
    return each_node(call, cluster, BY_INSTANCE, lambda node: life.reboot(call.state, cluster, node))


@verb
def batch_delete_cluster_nodes(call: HyperPodCall) -> Document:
    """The target goes down with them."""
    cluster = call.cluster
    patched(cluster)
    gone: dict[str, int] = {}

    def delete(node: Node) -> None:
        life.go(call.state, cluster, node)
        gone[node.group] = gone.get(node.group, 0) + 1

    if cluster.slurm and any(controller(cluster, id) for id in call.request.get("NodeIds", [])):
        raise Refused("ValidationException", "Instances that are configured as Slurm controller nodes cannot be deleted.")
    answer = each_node(call, cluster, BY_NODE, delete)
    targets = {name: cluster.groups[name].target - count for name, count in gone.items()}
    if targets and not cluster.continuous:
        cluster.status = "Updating"
    scaling.aim(call.state, cluster, targets, watched=False)
    return answer


def controller(cluster: Cluster, id: str) -> bool:
    node = cluster.find(id)
    return bool(node and cluster.groups[node.group].spec.get("SlurmConfig", {}).get("NodeType") == "Controller")
