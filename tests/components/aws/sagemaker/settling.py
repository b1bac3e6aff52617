"""Whether groups are where they should be: after each change of a node, the statuses of group, cluster and operation."""

from __future__ import annotations

from tests.components.aws.sagemaker import events
from tests.components.aws.sagemaker.records import Cluster, Document, Group, Operation
from tests.components.aws.sagemaker.state import HyperPodState

UNFINISHED = ("Creating", "Updating", "RollingBack")


def complete(cluster: Cluster, group: Group) -> bool:
    """As many as wanted, all of them there, none of them on its way."""
    nodes = cluster.of_group(group.name)
    return len(nodes) == group.target and all(node.arrived for node in nodes)


def counts(cluster: Cluster, group: Group) -> Document:
    minimum = {} if group.minimum is None else {"MinCount": group.minimum}
    return {"CurrentCount": cluster.count(group.name), "TargetCount": group.target, **minimum}


def settle(state: HyperPodState, cluster: Cluster) -> None:
    """After each change: statuses of the groups and the cluster, and of the operations."""
    if cluster.status in ("Deleting", "Failed"):
        return
    for group in cluster.groups.values():
        settle_group(state, cluster, group)
    done = all(complete(cluster, group) for group in cluster.groups.values())
    if not cluster.continuous and cluster.status in UNFINISHED and done:
        cluster.status = "InService"


def settle_group(state: HyperPodState, cluster: Cluster, group: Group) -> None:
    failed = any(node.status == "Failure" for node in cluster.of_group(group.name))
    if failed:
        group.status = "Degraded"
    elif complete(cluster, group):
        group.status, group.before = "InService", None
        for operation in cluster.operations:
            if operation.group_status.get(group.name) == "InProgress":
                operation.group_status[group.name] = "Done"
                events.of_group(cluster, state.agenda.now, group.name, "Instance group scaling completed")
                end_operation(operation)
    elif group.status != "Creating":
        group.status = "Updating"


def end_operation(operation: Operation) -> None:
    if operation.status == "InProgress" and "InProgress" not in operation.group_status.values():
        superseded = "Superseded" in operation.group_status.values()
        operation.status = "Superseded" if superseded else "Done"


def end_checks(cluster: Cluster) -> None:
    """A health check is done when none of its nodes is being checked."""
    for operation in cluster.operations:
        ids = {id for check in operation.checks for id in check.get("InstanceIds", [])}
        if operation.kind == "DeepHealthCheck" and not any(
            node.busy == "check" and ids & set(node.ids) for node in cluster.nodes
        ):
            operation.status = "Done"


def fail_soon(state: HyperPodState, cluster: Cluster, cause: str) -> None:
    """The older kind: an update that cannot be is rolled back as a whole; a creation fails for good."""

    def fail() -> None:
        cluster.failure = cause
        if cluster.status == "Creating":
            cluster.status = "Failed"
            for group in cluster.groups.values():
                group.status = "Failed"
        elif cluster.status == "Updating":
            cluster.status = "RollingBack"
            cluster.undo()
            settle(state, cluster)

    state.agenda.after(state.agenda.pace.fail_s, fail)
