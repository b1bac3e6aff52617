"""Nodes that only pretend (kwok plays their kubelet): labels and resources as nodes of these instance types have them on EKS and HyperPod.

A pod gets there with the toleration and the selector below; its containers never run. Annotation `fake/complete-after: 5s` on the
pod ends it, `fake/exit-code: "137"` as a failure.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
REGION = "us-west-2"
ZONES = (f"{REGION}a", f"{REGION}b")
FAKE_SELECTOR = {"type": "kwok"}
FAKE_TOLERATION = {"key": "kwok", "operator": "Exists"}
REAL_SELECTOR = {"type": "real"}


@dataclass(frozen=True)
class InstanceType:
    cpu: int
    memory_gib: int
    devices: dict[str, int]
    """Extended resource -> how many of it the device plugins offer."""


INSTANCE_TYPES = {
    "g5.8xlarge": InstanceType(32, 128, {"nvidia.com/gpu": 1, "vpc.amazonaws.com/efa": 1}),
    "p4d.24xlarge": InstanceType(96, 1152, {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 4}),
    "p5.48xlarge": InstanceType(192, 2048, {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 32}),
    # 16 chips of two cores each
    "trn1.32xlarge": InstanceType(
        128,
        512,
        {
            "aws.amazon.com/neuron": 16,
            "aws.amazon.com/neurondevice": 16,
            "aws.amazon.com/neuroncore": 32,
            "vpc.amazonaws.com/efa": 8,
        },
    ),
}
FLEET = ("ml.g5.8xlarge", "p4d.24xlarge", "ml.p5.48xlarge", "trn1.32xlarge")
"""Instance types of the nodes that every cluster has; `ml.` makes a HyperPod node."""


def resources(kind: InstanceType) -> dict[str, str]:
    counts = {"cpu": kind.cpu, "pods": 110, **kind.devices}
    return {
        "memory": f"{kind.memory_gib}Gi",
        "ephemeral-storage": "1Ti",
        **{name: str(count) for name, count in counts.items()},
    }


def labels(name: str, instance_type: str, zone: str, number: int) -> dict[str, str]:
    common = {
        **FAKE_SELECTOR,
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": instance_type,
        "topology.kubernetes.io/region": REGION,
        "topology.kubernetes.io/zone": zone,
        "topology.k8s.aws/network-node-layer-1": f"nn-{zone}",
        "topology.k8s.aws/network-node-layer-2": f"nn-{zone}-{number // 256}",
        "topology.k8s.aws/network-node-layer-3": f"nn-{zone}-{number // 16}",
    }
    if not instance_type.startswith("ml."):
        return {**common, "eks.amazonaws.com/nodegroup": instance_type.replace(".", "-")}
    prefix = "sagemaker.amazonaws.com/"
    hyperpod = {
        "compute-type": "hyperpod",
        "cluster-name": "test",
        "node-health-status": "Schedulable",
        "deep-health-check-status": "Passed",
    }
    group = {f"{prefix}instance-group-name": instance_type.split(".")[1]}
    return {**common, **{f"{prefix}{key}": value for key, value in hyperpod.items()}, **group}


def node_name(instance_type: str, number: int) -> str:
    """As the two name them: HyperPod by instance id, EKS by address."""
    if instance_type.startswith("ml."):
        return f"hyperpod-i-{zlib.crc32(instance_type.encode()):08x}{number:09x}"
    kind = sorted(INSTANCE_TYPES).index(instance_type)
    return f"ip-10-{kind}-{number // 256}-{number % 256}.{REGION}.compute.internal"


def fake_node(instance_type: str, number: int, zone: str) -> Manifest:
    """`instance_type` is a key of INSTANCE_TYPES, with or without `ml.`; the name follows from it and `number`."""
    name, offered = node_name(instance_type, number), resources(INSTANCE_TYPES[instance_type.removeprefix("ml.")])
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": labels(name, instance_type, zone, number),
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        # Whoever does not ask for such a node does not get one.
        "spec": {"providerID": f"aws:///{zone}/{name}", "taints": [{"key": "kwok", "value": "fake", "effect": "NoSchedule"}]},
        # No partial nodeInfo: the API server refuses it, and kwok fills it in.
        "status": {"allocatable": offered, "capacity": offered},
    }


def fake_nodes(instance_type: str, count: int, *, first: int = 0, zones: tuple[str, ...] = ZONES) -> list[Manifest]:
    """`count` nodes with the numbers from `first` on, spread over `zones`."""
    return [fake_node(instance_type, number, zones[number % len(zones)]) for number in range(first, first + count)]


def fleet(nodes_a_type: int) -> list[Manifest]:
    return [node for instance_type in FLEET for node in fake_nodes(instance_type, nodes_a_type)]
