"""One order for many nodes: sent once, and every node that the answer does not call done is a failure of that node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import trainyard_aws as aws
import trainyard_shell as shell

from hyperpod_api.calls import SageMaker
from hyperpod_api.cluster import HyperPodCluster
from hyperpod_repair.deeds import UNNAMED, Deed, meaning

Call = dict[str, Any]
"""A request as the operation takes it."""
SOFTWARE = "a cluster that was made before this operation existed needs `aws sagemaker update-cluster-software --cluster-name {name}` once"
NOT_TAKEN = {
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "ProxyConnectionError",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "SlowDown",
}
"""AWS was not reached, or was too busy to begin."""


@dataclass
class Answer:
    done: list[str] = field(default_factory=list)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Node -> AWS's code and message."""


def calls(deed: Deed, cluster: HyperPodCluster, nodes: Iterable[dict[str, Any]]) -> list[Call]:
    """By instance id wherever there is one: a repeated call can then never hit the instance that came in its place."""
    listed = list(nodes)
    with_id = [each["instance_id"] for each in listed if each.get("instance_id")]
    without = [each["logical_id"] for each in listed if not each.get("instance_id")]
    made = []
    for member, ids in (("NodeIds", with_id), ("NodeLogicalIds", without)):
        made += [
            {"ClusterName": cluster.name, member: ids[first : first + deed.per_call]}
            for first in range(0, len(ids), deed.per_call)
        ]
    return made


def ids_of(call: Call) -> list[str]:
    return [*(call.get("NodeIds") or []), *(call.get("NodeLogicalIds") or [])]


def send(sagemaker: SageMaker, cluster: HyperPodCluster, deed: Deed, call: Call) -> Answer:
    """Raises AwsError; `may_have_begun` says whether it can have happened all the same."""
    try:
        with sagemaker.asking(f"{deed.verb} {len(ids_of(call))} nodes of {cluster.name}", cluster.arn):
            return read(getattr(sagemaker.writing, deed.operation)(**call), ids_of(call))
    except aws.AwsError as error:
        if error.reason == "ValidationException":
            hint = f"{error.hint}; {SOFTWARE.format(name=cluster.name)}"
            raise aws.AwsError(error.code, error.reason, str(error), hint=hint) from error
        raise


def read(answer: dict[str, Any], asked: list[str]) -> Answer:
    found = Answer()
    succeeded = {*(answer.get("Successful") or []), *(answer.get("SuccessfulNodeLogicalIds") or [])}
    for each in [*(answer.get("Failed") or []), *(answer.get("FailedNodeLogicalIds") or [])]:
        id = each.get("NodeId") or each.get("NodeLogicalId")
        found.failed[str(id)] = (str(each.get("ErrorCode") or each.get("Code")), str(each.get("Message") or ""))
    for id in asked:
        if id not in found.failed:
            if id in succeeded:
                found.done.append(id)
            else:
                found.failed[id] = (UNNAMED, "")
    return found


def may_have_begun(error: aws.AwsError) -> bool:
    """A refusal in words has changed nothing; a 5xx or a lost answer says nothing."""
    return error.code == "unreachable" and "Throttl" not in error.reason and error.reason not in NOT_TAKEN


def checks(deed: Deed, cluster: HyperPodCluster, failed: dict[str, tuple[str, str]], region: str) -> list[shell.Check]:
    found = []
    for id, (code, message) in failed.items():
        words, next = meaning(code)
        fix = f"manage_hyperpod.py {next.format(cluster=cluster.name, id=id)} --region {region}"
        summary = f"{id} was not {deed.past}: {words}"
        found.append(
            shell.Check(f"{deed.verb}.{id}", "fail", summary, shell.clean(f"{code}: {message}".rstrip(": "), 400), fix)
        )
    return found
