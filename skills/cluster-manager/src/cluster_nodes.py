"""The nodes of a cluster with what is free on them, read once: nodes, and the pods that count."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass, field

import trainyard_nodehealth as nodehealth
from cluster_amounts import Amounts, add, amounts, pod_requests
from cluster_devices import NEURON_NAMES, Devices, devices_of
from cluster_read import UNFINISHED, Condition, Node, Pod, Taint, read_all
from trainyard_instances import TYPE_LABEL, ZONE_LABEL
from trainyard_kube import Cluster

SYSTEM_PRIORITIES = ("system-node-critical", "system-cluster-critical")
READY, CORDONED = "Ready", "node.kubernetes.io/unschedulable"
AUTOSCALER = "cluster-autoscaler"
"""In the names of its pods, however it was installed."""
HOLDS_BACK = ("NoSchedule", "NoExecute")
"""Effects of taints that keep a pod away; PreferNoSchedule does not."""


@dataclass(frozen=True, eq=False)
class Lower:
    """A pod that one of a higher priority may put out."""

    name: str
    """With its namespace."""
    priority: int
    requests: Amounts


@dataclass
class Machine:
    """One node: its labels and taints, what it offers, and what is taken of it."""

    name: str
    labels: dict[str, str]
    taints: list[Taint]
    cordoned: bool
    ready: bool
    allocatable: Amounts
    capacity: Amounts = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)
    watched: bool = False
    """An agent looks after its accelerators: EKS's, which has a condition, or HyperPod's, which has a pod there."""
    used: Amounts = field(default_factory=dict)
    """Requests of all pods on it."""
    system: Amounts = field(default_factory=dict)
    """Of these what stays whatever jobs do: DaemonSets, static pods, pods of a system priority."""
    lower: list[Lower] = field(default_factory=list)

    @property
    def zone(self) -> str | None:
        return self.labels.get(ZONE_LABEL)

    @property
    def instance_type(self) -> str | None:
        return self.labels.get(TYPE_LABEL)

    @functools.cached_property
    def devices(self) -> list[Devices]:
        """Its accelerators and EFA interfaces."""
        return devices_of(self.labels, self.allocatable, self.capacity)

    def free(self, resource: str) -> int:
        return self.allocatable.get(resource, 0) - self.used.get(resource, 0)

    def free_devices(self, devices: Devices) -> int:
        """Of a resource that is not there twice; Neuron's are, by their chips and by their cores, and a pod takes them from both."""
        names = NEURON_NAMES if devices.family == "neuron" else (devices.resource,)
        offered = {name: self.allocatable[name] for name in names if self.allocatable.get(name)}
        taken = sum(-(-self.used.get(name, 0) * devices.offered // count) for name, count in offered.items())
        return max(0, devices.offered - taken)

    def whole(self, resource: str) -> int:
        """What a job can have of the empty node."""
        return self.allocatable.get(resource, 0) - self.system.get(resource, 0)


@dataclass
class Machines:
    all: list[Machine]
    waiting_pods: int = 0
    """Pods without a node: they want room too, but hold none."""
    autoscaler: bool = False
    """Whether Cluster Autoscaler is among the pods."""


def read_machines(cluster: Cluster, below: int | None = None) -> Machines:
    """Two lists in pages; memory holds the nodes, one page of pods, and of the pods of a priority less than `below` what they hold.

    Raises ApiError (nodes or pods may not be listed).
    """
    by_name = {node.metadata.name: machine(node) for node in read_all(cluster, "/api/v1/nodes", Node)}
    used: dict[str, Amounts] = defaultdict(dict)
    system: dict[str, Amounts] = defaultdict(dict)
    waiting, autoscaler = 0, False
    for pod in read_all(cluster, "/api/v1/pods", Pod, fieldSelector=UNFINISHED):
        name = pod.spec.node_name
        if not name:
            waiting += 1
            continue
        autoscaler = autoscaler or AUTOSCALER in pod.metadata.name
        if nodehealth.is_agent(pod.metadata.namespace, pod.metadata.name) and name in by_name:
            by_name[name].watched = True
        requests = {**pod_requests(pod.spec), "pods": 1}
        add(used[name], requests)
        if is_system(pod):
            add(system[name], requests)
        if below is not None and pod.spec.priority < below and name in by_name:
            by_name[name].lower.append(Lower(f"{pod.metadata.namespace}/{pod.metadata.name}", pod.spec.priority, requests))
    for name, one in by_name.items():
        one.used, one.system = used.get(name, {}), system.get(name, {})
    return Machines(list(by_name.values()), waiting, autoscaler)


def machine(node: Node) -> Machine:
    return Machine(
        node.metadata.name,
        node.metadata.labels or {},
        node.spec.taints or [],
        node.spec.unschedulable,
        is_ready(node.status.conditions),
        amounts(node.status.allocatable),
        amounts(node.status.capacity),
        node.status.conditions or [],
        nodehealth.has_agent(told(node.status.conditions)),
    )


def told(conditions: list[Condition] | None) -> list[nodehealth.Condition]:
    """Conditions as the table of faults is asked about them."""
    return [
        nodehealth.Condition(each.type, each.status, each.reason, each.message, each.last_transition_time)
        for each in conditions or []
    ]


def is_ready(conditions: list[Condition] | None) -> bool:
    """A node without the condition has not reported yet."""
    return any(each.type == READY and each.status == "True" for each in conditions or [])


def is_system(pod: Pod) -> bool:
    owners = {owner.kind for owner in pod.metadata.owner_references or []}
    return bool(owners & {"DaemonSet", "Node"}) or pod.spec.priority_class_name in SYSTEM_PRIORITIES
