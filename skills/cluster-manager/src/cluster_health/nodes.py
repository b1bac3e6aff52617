"""Nodes: Ready or not, what HyperPod says of them, what EKS's node monitoring agent has found."""

from __future__ import annotations

import trainyard_faults as faults
import trainyard_kube as kube
import trainyard_nodehealth as nodehealth
from cluster_health.facts import ABSENT, NOT_READY, READY, Component, Facts, component, refused, some
from cluster_nodes import is_ready, told
from cluster_read import Node


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
        f"kubectl describe node {bad[0]}"
        if bad
        else f"manage_cluster.py fix uncordon {cordoned[0]}, if nobody is working on it"
        if cordoned
        else None
    )
    return component("nodes", READY, summary, evidence, fix, "warn" if bad or cordoned else "pass")


def _conditions(nodes: list[Node]) -> Component:
    """The kubelet's pressures, and what the monitoring agents add; a condition that is not there says nothing. Ready has its own component."""
    bad: list[tuple[str, faults.Finding]] = []
    for node in nodes:
        conditions = [each for each in told(node.status.conditions) if each.type != "Ready"]
        found = [each for each in nodehealth.of_conditions(conditions) if each.verdict != faults.HEALTHY]
        bad += [(node.metadata.name, each) for each in found]
    seen = sum(nodehealth.has_agent(told(node.status.conditions)) for node in nodes)
    agent = f"the EKS node monitoring agent looks after {seen} nodes" if seen else "no EKS node monitoring agent"
    if not bad:
        return component("nodes.conditions", READY, "no node reports pressure or broken hardware", agent)
    told_bad = list(dict.fromkeys(f"{name}: {each.evidence}" for name, each in bad))
    fix = f"drain the node; {_what_to_do(faults.by_weight(each for _, each in bad)[0])}"
    return component("nodes.conditions", NOT_READY, f"{len(told_bad)} conditions tell of trouble", some(told_bad), fix, "warn")


def _what_to_do(worst: faults.Finding) -> str:
    repair = {
        "reboot": "a reboot repairs it",
        "replace": "it must be replaced",
        "application": "look at the job that ran there",
    }.get(worst.action, "kubectl describe node says more")
    return f"{repair} (HyperPod: manage_hyperpod.py health names the command)"


def _hyperpod(nodes: list[Node]) -> Component:
    ours = [node for node in nodes if nodehealth.is_hyperpod(node.metadata.labels or {})]
    if not ours:
        return component("nodes.hyperpod", ABSENT, "no node of SageMaker HyperPod")
    found = [(node.metadata.name, _against(node.metadata.labels or {})) for node in ours]
    bad = [f"{name}: {', '.join(each.evidence for each in against)}" for name, against in found if against]
    if not bad:
        return component("nodes.hyperpod", READY, f"all {len(ours)} HyperPod nodes are Schedulable")
    summary = f"HyperPod holds back {len(bad)} of {len(ours)} nodes, or their health is unknown"
    fix = "manage_hyperpod.py health says why and what to do; with automatic node recovery HyperPod reboots (minutes) or replaces (half an hour) them"
    return component("nodes.hyperpod", NOT_READY, summary, some(bad), fix, "fail" if len(bad) == len(ours) else "warn")


def _against(labels: dict[str, str]) -> list[faults.Finding]:
    """What a node's labels say against it, or do not say; each label once."""
    found = [each for each in nodehealth.of_labels(labels) if each.verdict != faults.HEALTHY]
    return list({each.evidence: each for each in found}.values())
