"""Events, operations, and deep health checks."""

from __future__ import annotations

import copy

from tests.components.aws.sagemaker import life
from tests.components.aws.sagemaker.entering import HyperPodCall, verb
from tests.components.aws.sagemaker.records import Cluster, Document, Event, Operation
from tests.components.aws.sagemaker.shown import ordered, page
from tests.components.aws.wire.refused import Refused


def with_events(call: HyperPodCall) -> Cluster:
    """Raises Refused."""
    cluster = call.cluster
    if not cluster.continuous:
        raise Refused("ValidationException", "Cluster events require the Continuous NodeProvisioningMode.")
    return cluster


@verb
def list_cluster_events(call: HyperPodCall) -> Document:
    cluster, request = with_events(call), call.request
    asked = (("ResourceType", "kind"), ("InstanceGroupName", "group"), ("NodeId", "instance_id"), ("OperationId", "operation"))
    fitting = [
        event
        for event in cluster.events
        if all(getattr(event, member) == request[name] for name, member in asked if name in request)
    ]
    found = ordered(fitting, request, lambda event: event.time, lambda event: event.id, "Descending")
    return page(found, request, "Events", lambda event: event_summary(cluster, event))


def event_summary(cluster: Cluster, event: Event) -> Document:
    """Without the cause, which only the detail call has."""
    about = {"InstanceGroupName": event.group, "InstanceId": event.instance_id, "OperationId": event.operation}
    return {
        "EventId": event.id,
        "ClusterArn": cluster.arn,
        "ClusterName": cluster.name,
        "ResourceType": event.kind,
        "EventTime": event.time,
        "Description": event.description,
        "EventLevel": event.level,
        **{name: value for name, value in about.items() if value},
    }


@verb
def describe_cluster_event(call: HyperPodCall) -> Document:
    cluster = with_events(call)
    event = next((each for each in cluster.events if each.id == call.request["EventId"]), None)
    if event is None:
        raise Refused("ResourceNotFound", f"Event '{call.request['EventId']}' not found in cluster '{cluster.name}'.")
    details = {"EventDetails": {"EventMetadata": copy.deepcopy(event.metadata)}} if event.metadata else {}
    return {"EventDetails": {**event_summary(cluster, event), **details}}


@verb
def list_cluster_operations(call: HyperPodCall) -> Document:
    cluster, request = call.cluster, call.request
    fitting = [
        each
        for each in cluster.operations
        if request.get("Status", each.status) == each.status and request.get("Type", each.kind) == each.kind
    ]
    found = ordered(fitting, request, lambda each: each.created_at, lambda each: each.id, "Descending")
    return page(found, request, "ClusterOperationSummaries", lambda each: operation_summary(cluster, each))


def operation_summary(cluster: Cluster, operation: Operation) -> Document:
    return {
        "OperationId": operation.id,
        "ClusterArn": cluster.arn,
        "Type": operation.kind,
        "Status": operation.status,
        "CreationTime": operation.created_at,
    }


@verb
def describe_cluster_operation(call: HyperPodCall) -> Document:
    cluster = call.cluster
    operation = next((each for each in cluster.operations if each.id == call.request["OperationId"]), None)
    if operation is None:
        raise Refused("ResourceNotFound", f"Operation '{call.request['OperationId']}' not found in cluster '{cluster.name}'.")
    scaling = [
        {"InstanceGroupName": name, "Status": operation.group_status[name], "Original": before, "Desired": after}
        for name, (before, after) in operation.scaling.items()
    ]
    given = {"ScalingDetails": scaling, "DeepHealthCheckDetails": operation.checks}
    return {**operation_summary(cluster, operation), **{name: value for name, value in given.items() if value}}


@verb
def start_cluster_health_check(call: HyperPodCall) -> Document:
    """Of the instances that are named, or of all of the group."""
    cluster, state = call.cluster, call.state
    chosen, checks = [], []
    for each in call.request["DeepHealthCheckConfigurations"]:
        if each["InstanceGroupName"] not in cluster.groups:
            raise Refused("ValidationException", f"Instance group '{each['InstanceGroupName']}' does not exist.")
        nodes = cluster.of_group(each["InstanceGroupName"])
        ids = each.get("InstanceIds") or [node.instance_id for node in nodes if node.status == "Running"]
        named = [node for node in nodes if node.instance_id in ids]
        if len(named) != len(ids) or any(node.status != "Running" for node in named):
            raise Refused("ValidationException", "Deep health checks require Running instances of the instance group.")
        chosen += named
        checks.append({**each, "InstanceIds": ids})
    cluster.operations.append(Operation(state.agenda.now, "DeepHealthCheck", checks=checks))
    for node in chosen:
        life.check(state, cluster, node)
    return {"ClusterArn": cluster.arn}
