"""Nodes: Ready or not, what HyperPod says of them, what EKS's node monitoring agent has found."""

from __future__ import annotations

import trainyard_kube as kube
from cluster_health.facts import ABSENT, NOT_READY, READY, Component, Facts, component, refused, some
from cluster_nodes import is_ready
from cluster_read import Node

PREFIX = "sagemaker.amazonaws.com/"
AGENT = ("AcceleratedHardwareReady", "ContainerRuntimeReady", "KernelReady", "NetworkingReady", "StorageReady")
PRESSURE = ("MemoryPressure", "DiskPressure", "PIDPressure")


def node_components(facts: Facts) -> list[Component]:
    if isinstance(facts.nodes, kube.ApiError):
        return [refused(name, facts.nodes) for name in ("nodes", "nodes.conditions", "nodes.hyperpod")]
    return [_ready(facts.nodes), _conditions(facts.nodes), _hyperpod(facts.nodes)]


def _ready(nodes: list[Node]) -> Component:
    if not nodes:
        return component("nodes", ABSENT, "the cluster has no node", None, "add a node group", "fail")
    bad = [node.metadata.name for node in nodes if not is_ready(node.status.conditions)]
    cordoned = [node.metadata.name for node in nodes if node.spec.unschedulable]
    summary = f"{len(nodes) - len(bad)} of {len(nodes)} nodes are Ready, {len(cordoned)} cordoned"
    told = [f"{what}: {some(names)}" for what, names in (("not Ready", bad), ("cordoned", cordoned)) if names]
    evidence = "; ".join(told) or None
    if len(bad) == len(nodes):
        return component("nodes", NOT_READY, summary, evidence, f"kubectl describe node {bad[0]}")
    fix = (
        f"kubectl describe node {bad[0]}" if bad else f"fix uncordon {cordoned[0]}, if nobody works on it" if cordoned else None
    )
    return component("nodes", READY, summary, evidence, fix, "warn" if bad or cordoned else "pass")


def _conditions(nodes: list[Node]) -> Component:
    """The kubelet's pressures, and what EKS's node monitoring agent adds; a condition that is not there says nothing."""
    bad = []
    seen = 0
    for node in nodes:
        for each in node.status.conditions or []:
            seen += each.type in AGENT
            wrong = "False" if each.type in AGENT else "True" if each.type in PRESSURE else None
            if each.status == wrong:
                bad.append(f"{node.metadata.name}: {each.type} is {each.status} ({each.reason})")
    told = f"{seen} conditions of the EKS node monitoring agent" if seen else "no EKS node monitoring agent"
    if bad:
        fix = "drain the node; HyperPod and EKS auto repair replace it"
        return component("nodes.conditions", NOT_READY, f"{len(bad)} conditions tell of trouble", some(bad), fix, "warn")
    return component("nodes.conditions", READY, "no node reports pressure or broken hardware", told)


def _hyperpod(nodes: list[Node]) -> Component:
    ours = [node for node in nodes if (node.metadata.labels or {}).get(f"{PREFIX}compute-type") == "hyperpod"]
    if not ours:
        return component("nodes.hyperpod", ABSENT, "no node of SageMaker HyperPod")
    bad = [f"{node.metadata.name}: {said}" for node in ours if (said := hyperpod_trouble(node.metadata.labels or {}))]
    if not bad:
        return component("nodes.hyperpod", READY, f"all {len(ours)} HyperPod nodes are Schedulable")
    summary = f"HyperPod holds back {len(bad)} of {len(ours)} nodes"
    fix = (
        "with automatic node recovery HyperPod reboots (minutes) or replaces (half an hour) them; list_cluster_events tells why"
    )
    return component("nodes.hyperpod", NOT_READY, summary, some(bad), fix, "fail" if len(bad) == len(ours) else "warn")


def hyperpod_trouble(labels: dict[str, str]) -> str | None:
    """What a node's labels say against it."""
    health = labels.get(f"{PREFIX}node-health-status", "Schedulable")
    deep = labels.get(f"{PREFIX}deep-health-check-status", "Passed")
    faults = labels.get(f"{PREFIX}fault-types")
    said = [
        health if health != "Schedulable" else None,
        f"deep health check {deep}" if deep != "Passed" else None,
        f"faults {faults} ({labels.get(f'{PREFIX}fault-reasons', 'no reason given')})" if faults else None,
    ]
    return ", ".join(filter(None, said)) or None
