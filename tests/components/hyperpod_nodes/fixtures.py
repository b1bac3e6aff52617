"""The fixture `hyperpod_nodes`: nodes of the session's cluster that follow HyperPod clusters. `register` as in the cluster's fixtures."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.components.aws import fixtures as aws_fixtures
from tests.components.aws.running import Aws
from tests.components.cluster import fixtures as cluster_fixtures
from tests.components.cluster.running import Cluster
from tests.components.hyperpod_nodes.following import Follower, connect, following

Follow = Callable[..., Follower]


def register(config: pytest.Config) -> None:
    aws_fixtures.register(config)
    cluster_fixtures.register(config)
    this = sys.modules[__name__]
    if not config.pluginmanager.is_registered(this):
        config.pluginmanager.register(this)


@pytest.fixture
def hyperpod_nodes(aws: Aws, cluster: Cluster) -> Iterator[Follow]:
    """`hyperpod_nodes("trainyard", real=False)` makes the nodes and follows until the test's end; `real`: the real node plays one."""
    with contextlib.ExitStack() as stack:

        def follow(name: str = "trainyard", *, real: bool = False, region: str = "us-east-1") -> Follower:
            core = connect(str(cluster.kubeconfig))
            node = cluster.get("nodes", "", "--selector=type=real")["items"][0]["metadata"]["name"] if real else ""
            return stack.enter_context(following(Follower(aws, name, core, region=region, real=node)))

        yield follow
