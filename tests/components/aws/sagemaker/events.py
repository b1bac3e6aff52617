"""The events of a continuous cluster; the older kind has none."""

from __future__ import annotations

from tests.components.aws.sagemaker.records import Cluster, Event, Node, Operation


def of_cluster(cluster: Cluster, now: float, description: str, level: str = "Info", cause: str = "") -> None:
    tell(cluster, Event(now, "Cluster", description, level, metadata={"Cluster": {"FailureMessage": cause}} if cause else {}))


def of_group(cluster: Cluster, now: float, name: str, description: str, level: str = "Info", cause: str = "") -> None:
    """About the group's scaling."""
    group = cluster.groups[name]
    counts = {"InstanceCount": cluster.count(name), "TargetCount": group.target}
    counts |= {} if group.minimum is None else {"MinCount": group.minimum}
    metadata = {"InstanceGroupScaling": {**counts, **({"FailureMessage": cause} if cause else {})}}
    tell(cluster, Event(now, "InstanceGroup", description, level, name, "", running_operation(cluster, name), metadata))


def of_node(cluster: Cluster, now: float, node: Node, description: str, level: str = "Info", cause: str = "") -> None:
    about = {"NodeLogicalId": node.logical_id, **({"FailureMessage": cause} if cause else {})}
    operation = running_operation(cluster, node.group)
    tell(cluster, Event(now, "Instance", description, level, node.group, node.instance_id, operation, {"Instance": about}))


def tell(cluster: Cluster, event: Event) -> None:
    if cluster.continuous:
        cluster.events.append(event)


def running_operation(cluster: Cluster, group: str) -> str:
    found: list[Operation] = [each for each in cluster.operations if each.group_status.get(group) == "InProgress"]
    return found[-1].id if found else ""
