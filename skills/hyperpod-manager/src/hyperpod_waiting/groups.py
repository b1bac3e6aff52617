"""How far a group or a cluster is: counts, operations, and whether each node that is there can take a job."""

from __future__ import annotations

import time
from collections.abc import Callable

import trainyard_shell as shell

from hyperpod_repair.picture import Picture
from hyperpod_requests.journal import ACCEPTED, Request
from hyperpod_waiting.usable import DONE, FAILED, UNKNOWN, WAITING, Outcome, usable

NO_TRACE_S = 60.0
BROKEN_GROUP = ("Failed",)
BROKEN_CLUSTER = ("Failed", "RollingBack", "Deleting")


def scaled(picture: Picture, request: Request) -> Outcome:
    """Its logical ids where AWS gave some, else the group's count; each node that came can take a job."""
    name, wanted = str(request["group"]), int(request["target"])
    group = picture.cluster.groups.get(name)
    if group is None:
        return Outcome(FAILED, f"the group {name} is gone")
    target, current = group.get("TargetCount"), group.get("CurrentCount")
    here = [each for each in picture.nodes if each.instance and each.instance.group == name]
    ids, before = set(request.get("logical_ids") or []), set(request.get("ids_before") or [])
    fresh = [
        each for each in here if each.instance and (each.instance.logical_id in ids if ids else each.instance.id not in before)
    ]
    each_of = [usable(picture, node) for node in fresh]
    text = f"{name}: {current} of {target} nodes; {sum(one.state == DONE for one in each_of)} of {max(len(ids), len(fresh))} new ones are Ready and Schedulable"
    if bad := [one.text for one in each_of if one.state == FAILED]:
        return Outcome(FAILED, f"{text}; {bad[0]}")
    begun = target != request["before"]
    if group.get("Status") in BROKEN_GROUP or picture.cluster.status in BROKEN_CLUSTER:
        reason = picture.cluster.described.get("FailureMessage") or ""
        return Outcome(FAILED, f"{text}; group {group.get('Status')}, cluster {picture.cluster.status}: {reason}", begun)
    if (
        request["phase"] == ACCEPTED
        and not begun
        and target != wanted
        and picture.cluster.status == "InService"
        and over(request)
    ):
        return Outcome(FAILED, f"{text}: the count is again what it was; the update was rolled back", False)
    ready = (
        target == current
        and (target == wanted or len(ids) == wanted - request["before"])
        and (not ids or ids <= {each.instance.logical_id for each in fresh if each.instance})
    )
    if ready and begun and all(one.state == DONE for one in each_of):
        return Outcome(DONE, text)
    if ready and begun and all(one.state in (DONE, UNKNOWN) for one in each_of):
        return Outcome(UNKNOWN, f"{text}; {next(one.text for one in each_of if one.state == UNKNOWN)}")
    waiting = next((one.text for one in each_of if one.state == WAITING), "")
    return Outcome(WAITING, f"{text}{'; ' if waiting else ''}{waiting}", begun)


def over(request: Request) -> bool:
    """It was seen to begin, or had the time: a count that has not changed then was rolled back."""
    return bool(request.get("went")) or time.time() - request["asked_at"] > NO_TRACE_S


def settled(picture: Picture, request: Request) -> Outcome:
    """Nothing is on its way in the group, or in the cluster, and each node can take a job."""
    cluster, only = picture.cluster, request.get("group")
    groups = {name: group for name, group in cluster.groups.items() if only in (None, name)}
    counts = ", ".join(f"{name} {group.get('CurrentCount')} of {group.get('TargetCount')}" for name, group in groups.items())
    text = f"{cluster.name} is {cluster.status}: {counts}"
    broken = [name for name, group in groups.items() if group.get("Status") in BROKEN_GROUP]
    if cluster.status in BROKEN_CLUSTER or broken:
        return Outcome(FAILED, f"{text}; {', '.join(broken)} {cluster.described.get('FailureMessage') or ''}".rstrip())
    here = [each for each in picture.nodes if each.instance and only in (None, each.instance.group)]
    each_of = [usable(picture, node) for node in here]
    if bad := [one.text for one in each_of if one.state == FAILED]:
        return Outcome(FAILED, f"{text}; {bad[0]}{f' and {len(bad) - 1} more' if len(bad) > 1 else ''}")
    late = [
        name
        for name, group in groups.items()
        if group.get("CurrentCount") != group.get("TargetCount") or group.get("ActiveOperations")
    ]
    waiting = [one.text for one in each_of if one.state == WAITING]
    untold = [one.text for one in each_of if one.state == UNKNOWN]
    if cluster.status == "InService" and not late and not waiting:
        return (
            Outcome(UNKNOWN, f"{text}; {untold[0]}")
            if untold
            else Outcome(DONE, f"{text}; {len(here)} nodes are Ready and Schedulable")
        )
    return Outcome(WAITING, f"{text}{'; ' if waiting else ''}{waiting[0] if waiting else ''}")


def operation(picture: Picture, request: Request) -> Outcome:
    """DescribeClusterOperation's word. Raises AwsError."""
    with picture.sagemaker.asking(f"describe the operation {request['operation']}", picture.cluster.arn):
        said = picture.sagemaker.reading.describe_cluster_operation(
            ClusterName=picture.cluster.name, OperationId=request["operation"]
        )
    parts = [
        f"{each.get('InstanceGroupName')} {(each.get('Original') or {}).get('TargetCount')} -> {(each.get('Desired') or {}).get('TargetCount')}"
        for each in said.get("ScalingDetails") or []
    ]
    text = shell.clean(
        f"{said.get('Type')} {request['operation']} is {said.get('Status')}: {', '.join(parts)}".rstrip(": "), 400
    )
    if said.get("Status") == "Done":
        return Outcome(DONE, text)
    if said.get("Status") == "Superseded":
        return Outcome(FAILED, f"{text}: a later operation took its place")
    return Outcome(WAITING, text)


WHOLE: dict[str, Callable[[Picture, Request], Outcome]] = {"scale": scaled, "settle": settled, "operation": operation}
"""Verbs whose request is about no single node."""
