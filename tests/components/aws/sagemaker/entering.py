"""How a call comes to HyperPod's state: under the lock, after everything that is due by now."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from tests.components.aws.sagemaker.records import Cluster, Document
from tests.components.aws.sagemaker.service import SAGEMAKER
from tests.components.aws.sagemaker.state import HyperPodState
from tests.components.aws.wire.json_service import Call


@dataclass(frozen=True)
class HyperPodCall:
    state: HyperPodState
    region: str
    request: Document

    @property
    def cluster(self) -> Cluster:
        """The one of ClusterName. Raises Refused."""
        return self.state.cluster(self.region, self.request["ClusterName"])


def verb(function: Callable[[HyperPodCall], Document]) -> Callable[[HyperPodCall], Document]:
    """Decorates the function that answers the operation of its name."""

    @functools.wraps(function)
    def answer(call: Call) -> Document:
        state = call.world.hyperpod
        with call.world.lock:
            state.agenda.advance()
            return function(HyperPodCall(state, call.region, call.request))

    SAGEMAKER.verb(answer)
    return function
