"""What tests tell HyperPod, and ask of it besides AWS's own calls: the control verbs whose names begin with `hyperpod_`."""

from __future__ import annotations

import dataclasses
from typing import Any

from tests.components.aws import control
from tests.components.aws.sagemaker import life, settling
from tests.components.aws.sagemaker.cluster_verbs import new_group
from tests.components.aws.sagemaker.records import PENDING_REPLACEMENT, RELEASES, Cluster, Document, Node
from tests.components.aws.sagemaker.state import HyperPodState
from tests.components.aws.world import World

REGION = "us-east-1"


def entered(world: World) -> HyperPodState:
    world.hyperpod.agenda.advance()
    return world.hyperpod


@control.verb
def hyperpod_pace(world: World, **seconds: float) -> Document:
    """See Pace: how long the transitions that begin from now on take. Answers all of them."""
    with world.lock:
        pace = entered(world).agenda.pace
        for name, value in seconds.items():
            if not hasattr(pace, name):
                raise ValueError(f"no {name}: there are {', '.join(dataclasses.asdict(pace))}")
            setattr(pace, name, value)
        return dataclasses.asdict(pace)


@control.verb
def hyperpod_pass(world: World, seconds: float) -> None:
    """So much time passes at once: what is due until then has happened."""
    with world.lock:
        world.hyperpod.agenda.passed_s += seconds
        entered(world)


@control.verb
def hyperpod_fault(world: World, **fault: Any) -> None:
    """See Fault and KINDS: what is to go wrong from now on."""
    with world.lock:
        entered(world).faults.add(**fault)


@control.verb
def hyperpod_mend(world: World) -> None:
    """No planned fault is left; what has gone wrong already stays."""
    with world.lock:
        entered(world).faults.waiting.clear()


@control.verb
def hyperpod_quota(world: World, instance_type: str, count: int) -> None:
    """All clusters of a region may have so many instances of the type."""
    with world.lock:
        entered(world).quotas[instance_type] = count


@control.verb
def hyperpod_not_found(world: World, as_moto: bool = True) -> None:
    """Unknown clusters and nodes: in moto's words, or in AWS's."""
    with world.lock:
        entered(world).not_found_as_moto = as_moto


@control.verb
def hyperpod_cluster(
    world: World,
    name: str,
    groups: dict[str, Document],
    region: str = REGION,
    patched: bool = True,
    **settings: Any,
) -> Document:
    """A cluster that is InService with all its nodes Running, at once. `groups`: name -> the specification's other members;

    `settings`: CreateCluster's members besides. `patched` False: it is older than the batch calls.
    """
    with world.lock:
        state = entered(world)
        cluster = Cluster(region, name, settings, state.agenda.now, "InService", patched=patched)
        state.clusters[region, name] = cluster
        for group_name, given in groups.items():
            group = new_group({**given, "InstanceGroupName": group_name})
            group.target, group.status = given["InstanceCount"], "InService"
            group.release = group.release if patched else RELEASES[0]
            cluster.groups[group_name] = group
            for _ in range(group.target):
                there(state, cluster, life.placed(cluster, group_name))
        settling.settle(state, cluster)
        return {"ClusterArn": cluster.arn, "nodes": [node_document(node) for node in cluster.nodes]}


def there(state: HyperPodState, cluster: Cluster, node: Node) -> None:
    cluster.nodes.append(node)
    life.given_instance(state, node)
    node.status, node.arrived = "Running", True


@control.verb
def hyperpod_nodes(world: World, cluster: str, region: str = REGION) -> list[Document]:
    """Everything of the cluster's nodes, what Kubernetes shows of them too."""
    with world.lock:
        return [node_document(node) for node in entered(world).cluster(region, cluster).nodes]


def node_document(node: Node) -> Document:
    return {**dataclasses.asdict(node), "hostname": node.hostname if node.instance_id else ""}


@control.verb
def hyperpod_view(world: World, cluster: str, region: str = REGION) -> Document:
    """The cluster for whoever plays its Kubernetes: id, name, settings, the groups' specifications, the nodes."""
    with world.lock:
        found = entered(world).cluster(region, cluster)
        return {
            "name": found.name,
            "arn": found.arn,
            "region": region,
            "settings": found.settings,
            "groups": {name: group.spec for name, group in found.groups.items()},
            "nodes": [node_document(node) for node in found.nodes],
        }


@control.verb
def hyperpod_faulty(
    world: World,
    cluster: str,
    node: str,
    health: str = PENDING_REPLACEMENT,
    types: list[str] | None = None,
    reasons: list[str] | None = None,
    details: list[Document] | None = None,
    region: str = REGION,
) -> None:
    """The health agent finds this node faulty, now. With NodeRecovery=Automatic it is recovered."""
    with world.lock:
        state = entered(world)
        found = state.cluster(region, cluster)
        kinds, causes = types or ["NvidiaErrorReset"], reasons or ["XID_79"]
        more = details if details is not None else [{"faultType": kinds[0], "faultReason": causes[0]}]
        life.turn_faulty(state, found, state.node(found, node), health, kinds, causes, more)


@control.verb
def hyperpod_label(world: World, cluster: str, node: str, health: str, region: str = REGION) -> None:
    """A person has set the label node-health-status of the node."""
    with world.lock:
        state = entered(world)
        found = state.cluster(region, cluster)
        life.label(state, found, state.node(found, node), health)


@control.verb
def hyperpod_node(world: World, cluster: str, node: str, region: str = REGION, **members: Any) -> None:
    """Set members of a node as they are to be: status, message, release, deep_check, zone. See Node."""
    with world.lock:
        state = entered(world)
        found = state.node(state.cluster(region, cluster), node)
        for name, value in members.items():
            if not hasattr(found, name):
                raise ValueError(f"a node has no {name}")
            setattr(found, name, value)


@control.verb
def hyperpod_status(world: World, cluster: str, status: str, failure: str = "", region: str = REGION) -> None:
    """The cluster's status is this: an update of somebody else's runs, for one."""
    with world.lock:
        found = entered(world).cluster(region, cluster)
        found.status, found.failure = status, failure
