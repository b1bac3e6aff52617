"""A cluster's ARN for its name, as policies want it: the ARN ends in an id that only HyperPod's state knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.components.aws.iam.caller import Caller
from tests.components.aws.world import World


def with_arns(world: World, caller: Caller, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request with the ARN in ClusterName, where the cluster exists."""
    if caller.service != "sagemaker" or not isinstance(request.get("ClusterName"), str):
        return request
    with world.lock:
        world.hyperpod.agenda.advance()
        found = world.hyperpod.find(caller.region, request["ClusterName"])
    return {**request, "ClusterName": found.arn} if found else request
