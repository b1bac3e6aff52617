"""A node of HyperPod as Kubernetes shows it: name, labels, annotation, taints, resources.

https://docs.aws.amazon.com/sagemaker/latest/dg/sagemaker-hyperpod-eks-resiliency-node-labels.html
"""

from __future__ import annotations

import json
from typing import Any

from tests.components.cluster.nodes import FAKE_SELECTOR, INSTANCE_TYPES, InstanceType, resources

Document = dict[str, Any]
PREFIX = "sagemaker.amazonaws.com/"
HEALTH = f"{PREFIX}node-health-status"
KWOK = "kwok.x-k8s.io/node"
OURS = (PREFIX, "topology.k8s.aws/", "topology.kubernetes.io/", "node.kubernetes.io/instance-type")
"""What begins so is taken away where it is no longer so."""
TYPES = INSTANCE_TYPES | {
    "c5.xlarge": InstanceType(4, 8, {}),
    "p5.4xlarge": InstanceType(16, 256, {"nvidia.com/gpu": 1, "vpc.amazonaws.com/efa": 1}),
    "p5en.48xlarge": InstanceType(192, 2048, {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 16}),
}
NOT_READY = {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "the instance reboots"}


def shown(node: Document) -> bool:
    """Kubernetes has the node once its kubelet has registered, until the instance is gone. `node`: as `hyperpod_view` has it."""
    return bool(node["instance_id"]) and (node["arrived"] or node["status"] == "ShuttingDown")


def ready(node: Document) -> bool:
    """A kubelet that reboots or shuts down does not say that it is."""
    return node["status"] not in ("Pending", "ShuttingDown", "Failure")


def labels(view: Document, node: Document) -> dict[str, str]:
    given = view["groups"][node["group"]].get("KubernetesConfig", {}).get("Labels", {})
    zone = node["zone"]
    hyperpod = {
        "compute-type": "hyperpod",
        "cluster-name": view["name"],
        "instance-group-name": node["group"],
        "node-health-status": node["health"],
        "deep-health-check-status": node["deep_check"],
        # A label's value takes no comma.
        "fault-types": "_".join(node["fault_types"]),
        "fault-reasons": "_".join(node["fault_reasons"]),
    }
    return {
        "node.kubernetes.io/instance-type": node["instance_type"],
        "topology.kubernetes.io/region": view["region"],
        "topology.kubernetes.io/zone": zone,
        "topology.k8s.aws/network-node-layer-1": f"nn-{zone}",
        **{f"{PREFIX}{name}": value for name, value in hyperpod.items() if value},
        **given,
    }


def annotations(node: Document) -> dict[str, str]:
    return {f"{PREFIX}fault-details": json.dumps(node["fault_details"])} if node["fault_details"] else {}


def taints(view: Document, node: Document) -> list[Document]:
    given = view["groups"][node["group"]].get("KubernetesConfig", {}).get("Taints", [])
    found = [{name.lower(): value for name, value in taint.items()} for taint in given]
    if node["health"] != "Schedulable":
        found.append({"key": HEALTH, "value": "Unschedulable", "effect": "NoSchedule"})
    return found


def manifest(view: Document, node: Document) -> Document:
    """Of a node that kwok plays; it has kwok's taint too."""
    name, type = node["hostname"], node["instance_type"].removeprefix("ml.")
    if type not in TYPES:
        raise ValueError(f"no resources are known for {type}: add it to tests/components/hyperpod_nodes/manifest.py")
    offered = resources(TYPES[type])
    common = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64", **FAKE_SELECTOR}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {**common, **labels(view, node)},
            "annotations": {KWOK: "fake", **annotations(node)},
        },
        "spec": {
            "providerID": f"aws:///{node['zone']}/sagemaker/cluster/{view['arn'].rpartition('/')[2]}/{node['instance_id']}",
            "taints": [{"key": "kwok", "value": "fake", "effect": "NoSchedule"}, *taints(view, node)],
        },
        "status": {"allocatable": offered, "capacity": offered},
    }
