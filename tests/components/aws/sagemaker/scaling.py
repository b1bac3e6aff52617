"""Counts of groups: growing, shrinking, whether they are there yet, and rolling back."""

from __future__ import annotations

from tests.components.aws.sagemaker import events, life
from tests.components.aws.sagemaker.records import Cluster, Document, Group, Operation
from tests.components.aws.sagemaker.state import HyperPodState
from tests.components.aws.wire.refused import Refused

UNFINISHED = ("Creating", "Updating", "RollingBack")


def check_quota(state: HyperPodState, region: str, wanted: dict[str, int]) -> None:
    """`wanted`: instance type -> how many more. Raises Refused (ResourceLimitExceeded), in AWS's words."""
    for type, more in wanted.items():
        clusters = [cluster for (place, _), cluster in state.clusters.items() if place == region]
        used = sum(group.target for cluster in clusters for group in cluster.groups.values() if type == group.types[0])
        limit = state.quotas.get(type)
        if limit is not None and more > 0 and used + more > limit:
            raise Refused(
                "ResourceLimitExceeded",
                f"The account-level service limit '{type} for cluster usage' is {limit} Instances, with current utilization of "
                f"{used} Instances and a request delta of {more} Instances. Please use AWS Service Quotas to request an increase "
                "for this quota. If AWS Service Quotas is not available, contact AWS support to request an increase for this quota.",
            )


def aim(state: HyperPodState, cluster: Cluster, targets: dict[str, int], *, watched: bool = True) -> None:
    """Groups shall have so many nodes: more are wanted, or the newest go. `watched`: and at least MinInstanceCount in time."""
    begin_operation(state, cluster, targets)
    for name, target in targets.items():
        group = cluster.groups[name]
        group.target = target
        staying = [node for node in cluster.of_group(name) if node.busy != "delete"]
        for _ in range(target - len(staying)):
            life.wanted(state, cluster, name)
        for node in staying[target:]:
            life.go(state, cluster, node)
        if group.minimum and watched:
            watch_minimum(state, cluster, group)
    settle(state, cluster)


def begin_operation(state: HyperPodState, cluster: Cluster, targets: dict[str, int]) -> Operation | None:
    """A new scaling of a group supersedes the one that is not done. Only of groups whose count changes."""
    changed = {name: target for name, target in targets.items() if cluster.groups[name].target != target}
    if not cluster.continuous or not changed:
        return None
    operation = Operation(state.agenda.now, "Scaling")
    for name, target in changed.items():
        for before in cluster.operations:
            if before.group_status.get(name) == "InProgress":
                before.group_status[name] = "Superseded"
                end_operation(before)
        was = counts(cluster, cluster.groups[name])
        operation.scaling[name] = (was, {**was, "CurrentCount": target, "TargetCount": target})
        operation.group_status[name] = "InProgress"
    cluster.operations.append(operation)
    return operation


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


def counts(cluster: Cluster, group: Group) -> Document:
    minimum = {} if group.minimum is None else {"MinCount": group.minimum}
    return {"CurrentCount": cluster.count(group.name), "TargetCount": group.target, **minimum}


def complete(cluster: Cluster, group: Group) -> bool:
    """As many as wanted, all of them there, none of them on its way."""
    nodes = cluster.of_group(group.name)
    return len(nodes) == group.target and all(node.arrived for node in nodes)


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


def watch_minimum(state: HyperPodState, cluster: Cluster, group: Group) -> None:
    """Below MinInstanceCount when the time is over: the group goes back to what it was."""
    target = group.target

    def judge() -> None:
        if group.target == target and group.name in cluster.groups and cluster.count(group.name) < (group.minimum or 0):
            cause = f"Instance group did not reach its minimum instance count of {group.minimum}."
            events.of_group(cluster, state.agenda.now, group.name, "Instance group rolled back", "Error", cause)
            roll_back(state, cluster, group)

    state.agenda.after(state.agenda.pace.minimum_s, judge)


def roll_back(state: HyperPodState, cluster: Cluster, group: Group) -> None:
    """To the specification and count before; a new group to none."""
    spec, target = group.before or (group.spec, 0)
    group.spec, group.minimum, group.before = spec, spec.get("MinInstanceCount"), None
    # The last ones go, and what has not come is last.
    cluster.nodes.sort(key=lambda node: not node.arrived)
    aim(state, cluster, {group.name: target}, watched=False)


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
            for group in list(cluster.groups.values()):
                if group.before:
                    roll_back(state, cluster, group)
            settle(state, cluster)

    state.agenda.after(state.agenda.pace.fail_s, fail)
