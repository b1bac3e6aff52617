"""Everything that HyperPod remembers: clusters, quotas, tokens, pace and faults. Used under the world's lock."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from tests.components.aws.sagemaker.agenda import Agenda
from tests.components.aws.sagemaker.faults import Faults
from tests.components.aws.sagemaker.records import Cluster, Node
from tests.components.aws.wire.refused import Refused

TOKEN_S = 8 * 3600.0


@dataclass
class HyperPodState:
    clusters: dict[tuple[str, str], Cluster] = field(default_factory=dict)
    """(region, name), the oldest first."""
    quotas: dict[str, int] = field(default_factory=dict)
    """Instance type -> how many of it all clusters of a region may have; what is not named has no limit."""
    tokens: dict[tuple[str, str, str], tuple[float, str, Any]] = field(default_factory=dict)
    """(operation, region, ClientToken) -> when, the request, the answer."""
    not_found_as_moto: bool = False
    """Unknown clusters and nodes are a ValidationException in moto's words; AWS says ResourceNotFound."""
    agenda: Agenda = field(default_factory=Agenda)
    faults: Faults = field(default_factory=Faults)

    def find(self, region: str, name: str) -> Cluster | None:
        """By name or ARN."""
        mine = (cluster for (place, _), cluster in self.clusters.items() if place == region)
        return next((cluster for cluster in mine if name in (cluster.name, cluster.arn)), None)

    def cluster(self, region: str, name: str) -> Cluster:
        """Raises Refused."""
        if found := self.find(region, name):
            return found
        if self.not_found_as_moto:
            raise Refused("ValidationException", f"Could not find cluster '{name.rpartition('/')[2]}'.")
        raise Refused("ResourceNotFound", f"Cluster with name '{name}' not found.")

    def node(self, cluster: Cluster, id: str) -> Node:
        """Raises Refused."""
        if found := cluster.find(id):
            return found
        if self.not_found_as_moto:
            raise Refused("ValidationException", f"Could not find node '{id}' in cluster '{cluster.name}'.")
        raise Refused("ResourceNotFound", f"Node '{id}' not found in cluster '{cluster.name}'.")

    def answered(self, operation: str, region: str, request: dict[str, Any]) -> Any:
        """The kept answer of the same call with the same ClientToken. Raises Refused where the token was of another request."""
        held = self.tokens.get((operation, region, request.get("ClientToken", "")))
        if held is None or self.agenda.now - held[0] > TOKEN_S:
            return None
        if held[1] != canonical(request):
            raise Refused("ValidationException", "The ClientToken was already used in a request with different parameters.")
        return held[2]

    def keep_answer(self, operation: str, region: str, request: dict[str, Any], answer: Any) -> None:
        if token := request.get("ClientToken"):
            self.tokens[operation, region, token] = (self.agenda.now, canonical(request), answer)


def canonical(request: dict[str, Any]) -> str:
    return json.dumps(request, sort_keys=True)
