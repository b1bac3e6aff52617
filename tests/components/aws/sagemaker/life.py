"""The life of a node: it is wanted, found, launched, rebooted, replaced, recovered, moved, and goes."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tests.components.aws.sagemaker import events, settling
from tests.components.aws.sagemaker.records import (
    PENDING_REBOOT,
    PENDING_REPLACEMENT,
    Cluster,
    Document,
    Node,
    instance_id,
)
from tests.components.aws.sagemaker.state import HyperPodState

LOGICAL = itertools.count(1)
INSUFFICIENT = "InsufficientCapacity: There is not enough {type} capacity in the Availability Zone you requested ({zone})."


def later(state: HyperPodState, delay_s: float, node: Node, do: Callable[[], None]) -> None:
    """`do`, unless another operation has taken the node until then."""
    stage = node.stage
    state.agenda.after(delay_s, lambda: do() if node.stage == stage else None)


def take(node: Node, operation: str, status: str) -> None:
    """From now on the node is in this operation; what was planned for it is void."""
    node.stage += 1
    node.busy, node.status, node.message = operation, status, ""


def placed(cluster: Cluster, group: str) -> Node:
    """A place in the group, without an instance; it is not in the cluster yet."""
    number = next(LOGICAL)
    logical = f"{group[:40]}-{number:08x}" if cluster.continuous else ""
    node = Node(group, cluster.groups[group].types[0], logical, zone=f"{cluster.region}{'ab'[number % 2]}")
    node.release, node.address = cluster.groups[group].release, f"10.0.{number // 250 % 250}.{number % 250 + 1}"
    return node


def wanted(state: HyperPodState, cluster: Cluster, group: str) -> None:
    """A new node of the group; the instance comes later."""
    node = placed(cluster, group)
    cluster.nodes.append(node)
    seek(state, cluster, node)


def seek(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    """An instance for this place: found after a time, or never. The older kind has the id at once."""
    node.launched_at = state.agenda.now
    fault = state.faults.take(("no_capacity",), cluster.name, node.group, *node.ids)
    if fault and not cluster.continuous:
        settling.fail_soon(state, cluster, fault.message or lacking(node))
    elif fault:
        later(state, state.agenda.pace.capacity_s, node, lambda: lacks(state, cluster, node, fault.message or lacking(node)))
    elif cluster.continuous:
        later(state, state.agenda.pace.capacity_s, node, lambda: found(state, cluster, node))
    else:
        found(state, cluster, node)


def lacking(node: Node) -> str:
    return INSUFFICIENT.format(type=node.instance_type, zone=node.zone)


def lacks(state: HyperPodState, cluster: Cluster, node: Node, cause: str) -> None:
    """Said, and asked for again: continuous clusters never give up."""
    events.of_group(cluster, state.agenda.now, node.group, "Failed to provision instances", "Error", cause)
    later(state, state.agenda.pace.capacity_s * 5, node, lambda: seek(state, cluster, node))


def given_instance(state: HyperPodState, node: Node) -> None:
    node.instance_id, node.launched_at = instance_id(), state.agenda.now


def found(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    given_instance(state, node)
    events.of_node(cluster, state.agenda.now, node, "Instance provisioning started")
    comes(state, cluster, node, state.agenda.pace.launch_s)


def comes(state: HyperPodState, cluster: Cluster, node: Node, delay_s: float) -> None:
    """From Pending to Running after a time, unless a fault is planned for it."""
    fault = state.faults.take(("never_comes", "launch_fails"), cluster.name, node.group, *node.ids)
    if fault and fault.kind == "never_comes":
        return
    if fault:
        cause = fault.message or "Lifecycle scripts did not run successfully. Ensure the scripts exist in provided S3 path."
        later(state, delay_s, node, lambda: fails(state, cluster, node, cause))
    else:
        later(state, delay_s, node, lambda: arrives(state, cluster, node))


def fails(state: HyperPodState, cluster: Cluster, node: Node, cause: str) -> None:
    node.status, node.message, node.busy = "Failure", cause, ""
    events.of_node(cluster, state.agenda.now, node, "Instance provisioning failed", "Error", cause)
    settling.settle(state, cluster)
    if not cluster.continuous:
        settling.fail_soon(state, cluster, cause)


def arrives(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    first, node.arrived = not node.arrived, True
    if node.busy == "reboot" and not state.faults.take(("stays_faulty",), cluster.name, node.group, *node.ids):
        node.healthy()
    checks = cluster.groups[node.group].spec.get("OnStartDeepHealthChecks")
    events.of_node(cluster, state.agenda.now, node, "Instance is running")
    if first and checks:
        check(state, cluster, node)
    else:
        runs(state, cluster, node)


def runs(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    node.status, node.message, node.busy = "Running", "", ""
    settling.settle(state, cluster)


def check(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    """A deep health check; meanwhile nothing is scheduled there."""
    take(node, "check", "DeepHealthCheckInProgress")
    node.health, node.deep_check = "Unschedulable", "InProgress"
    fault = state.faults.take(("check_fails",), cluster.name, node.group, *node.ids)
    later(state, state.agenda.pace.check_s, node, lambda: checked(state, cluster, node, fault.message if fault else None))


def checked(state: HyperPodState, cluster: Cluster, node: Node, cause: str | None) -> None:
    node.deep_check = "Passed" if cause is None else "Failed"
    node.healthy()
    runs(state, cluster, node)
    settling.end_checks(cluster)
    if cause is not None:
        reason = cause or "DCGM_DIAGNOSTICS_FAILED"
        turn_faulty(state, cluster, node, PENDING_REPLACEMENT, ["DeepHealthCheckFailure"], [reason], [{"reason": reason}])


def turn_faulty(
    state: HyperPodState,
    cluster: Cluster,
    node: Node,
    health: str,
    types: list[str],
    reasons: list[str],
    details: list[Document],
) -> None:
    """As the health agent marks it; automatic recovery takes it up after a time."""
    node.health, node.fault_types, node.fault_reasons, node.fault_details = health, types, reasons, details
    cause = ", ".join(reasons)
    events.of_node(cluster, state.agenda.now, node, f"Instance is unhealthy: {health}", "Warn", cause)
    label(state, cluster, node, health)


def label(state: HyperPodState, cluster: Cluster, node: Node, health: str) -> None:
    """The label node-health-status has this value, by the agent or by a person: both are recovered alike."""
    node.health = health
    if cluster.recovers and health in (PENDING_REPLACEMENT, PENDING_REBOOT):
        recover = replace if health == PENDING_REPLACEMENT else reboot
        later(state, state.agenda.pace.recover_s, node, lambda: recover(state, cluster, node))


def reboot(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    take(node, "reboot", "Pending")
    node.boots += 1
    events.of_node(cluster, state.agenda.now, node, "Instance reboot started")
    comes(state, cluster, node, state.agenda.pace.reboot_s)
    settling.settle(state, cluster)


def replace(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    """The instance goes; another one comes to its place, with the logical id where there is one."""
    take(node, "replace", "ShuttingDown")
    node.arrived = False
    events.of_node(cluster, state.agenda.now, node, "Instance replacement started")
    fault = state.faults.take(("rolls_back",), cluster.name, node.group, *node.ids)
    if fault:
        later(state, state.agenda.pace.fail_s, node, lambda: comes_back(state, cluster, node, fault.message or lacking(node)))
    else:
        later(state, state.agenda.pace.shutdown_s, node, lambda: succeed(state, cluster, node))
    settling.settle(state, cluster)


def comes_back(state: HyperPodState, cluster: Cluster, node: Node, cause: str) -> None:
    """The old instance, as faulty as it was."""
    node.arrived = True
    events.of_node(cluster, state.agenda.now, node, "Instance replacement failed and was rolled back", "Error", cause)
    runs(state, cluster, node)


def succeed(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    events.of_node(cluster, state.agenda.now, node, "Instance terminated")
    cluster.nodes.remove(node)
    successor = Node(
        node.group, node.instance_type, node.logical_id, zone=node.zone, address=node.address, release=node.release
    )
    successor.busy = "replace"
    cluster.nodes.append(successor)
    seek(state, cluster, successor)
    settling.settle(state, cluster)


def go(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    """For good."""
    take(node, "delete", "ShuttingDown")
    node.arrived = False
    later(state, state.agenda.pace.shutdown_s if node.instance_id else 0.0, node, lambda: gone(state, cluster, node))


def gone(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    if node in cluster.nodes:
        cluster.nodes.remove(node)
    if node.instance_id:
        events.of_node(cluster, state.agenda.now, node, "Instance terminated")
    settling.settle(state, cluster)
