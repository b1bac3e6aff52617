"""Counts of groups: growing, shrinking, quotas, and rolling back."""

from __future__ import annotations

from tests.components.aws.sagemaker import events, life
from tests.components.aws.sagemaker.records import Cluster, Group, Operation
from tests.components.aws.sagemaker.settling import counts, end_operation, settle
from tests.components.aws.sagemaker.state import HyperPodState
from tests.components.aws.wire.refused import Refused


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


def roll_all_back(state: HyperPodState, cluster: Cluster) -> None:
    """Every group that the update has changed."""
    for group in list(cluster.groups.values()):
        if group.before:
            roll_back(state, cluster, group)
