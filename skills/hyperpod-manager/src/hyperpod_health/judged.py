"""The verdict on one node, from all that both sides say of it: the table of faults decides, and what it does not know is unknown."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import trainyard_faults as faults
import trainyard_kube as kube
import trainyard_nodehealth as nodehealth
from trainyard_faults import Finding
from trainyard_instances import known_type

from hyperpod_nodes.both_sides import BothSides
from hyperpod_nodes.joined import HyperPodNode
from hyperpod_nodes.tenants import OnNode

MAX_SHOWN = 10
BY_HYPERPOD = "hyperpod"
"""Who repairs a node by the table; without automatic recovery it is nobody."""


@dataclass(frozen=True)
class Judged:
    node: HyperPodNode
    findings: list[Finding]
    """The worst first."""
    history: list[Finding] = field(default_factory=list)
    """Faults that the annotation remembers, the newest first; those of before a repair too."""

    @property
    def verdict(self) -> str:
        return faults.worst(self.findings)

    @property
    def holds(self) -> bool:
        """No new pod should go there."""
        return self.verdict == faults.FAULTY or any(each.holds for each in self.findings)

    @property
    def cause(self) -> Finding | None:
        """The worst of what speaks against it. A label that only says that something was found is the cause where nothing says more."""
        against = [each for each in self.findings if each.verdict != faults.HEALTHY]
        worst = [each for each in against if each.verdict == self.verdict]
        named = [each for each in worst if each.id.startswith(("xid.", "reason.", "fault.Neuron"))]
        typed = [each for each in worst if each.id.startswith("fault.")]
        return next(iter(named or typed or worst), None)

    @property
    def action(self) -> str:
        """The furthest of all findings of the worst verdict: a replacement repairs what a reboot would."""
        acts = [each.action for each in self.findings if each.verdict == self.verdict]
        return max(acts, key=faults.ACTIONS.index, default="watch")


def judge(node: HyperPodNode, sides: BothSides, told: list[Finding] | None = None) -> Judged:
    """`told`: what events said of it. Without Kubernetes' side only what SageMaker calls broken is known; the rest is unknown."""
    found = list(told or [])
    history: list[Finding] = []
    if node.instance:
        found.append(faults.of_instance(node.instance.status, node.instance.message))
        if image := node.instance.listed.get("ImageVersionStatus"):
            found.append(faults.of_image(str(image)))
    if node.node:
        on = sides.on.get(kube.name(node.node), OnNode())
        history = nodehealth.details_findings(kube.notes(node.node))
        found += _of_node(node.node, on, history)
    if missing := _missing(node, sides):
        found.append(missing)
    if not sides.cluster.recovers_by_itself:
        found = [replace(each, repaired=faults.NOBODY) if each.repaired == BY_HYPERPOD else each for each in found]
    return Judged(node, faults.by_weight(_once(found)), history)


def _of_node(node: kube.Object, on: OnNode, history: list[Finding]) -> list[Finding]:
    labels = node["metadata"].get("labels") or {}
    conditions = conditions_of(node)
    found = nodehealth.of_node(labels, kube.notes(node), conditions)
    found += [faults.of_label("node-health-status", str(each.get("value"))) for each in taints_of_health(node)]
    if any(each.holds or each.verdict == faults.FAULTY for each in found):
        found += history[:3]  # the newest say why the labels hold it back
    if known_type(labels.get("node.kubernetes.io/instance-type")) and not (on.has_agent or nodehealth.has_agent(conditions)):
        what = "no agent watches its accelerators, so silence does not mean healthy"
        found.append(
            faults.unknown("agent.none", what, "no condition AcceleratedHardwareReady, no pod health-monitoring-agent")
        )
    return found


def conditions_of(node: kube.Object) -> list[nodehealth.Condition]:
    def text(each: kube.Object, name: str) -> str:
        return str(each.get(name) or "")

    return [
        nodehealth.Condition(
            text(each, "type"),
            text(each, "status"),
            text(each, "reason"),
            text(each, "message"),
            each.get("lastTransitionTime"),
        )
        for each in kube.conditions(node)
    ]


def taints_of_health(node: kube.Object) -> list[kube.Object]:
    """HyperPod's own, beside its label."""
    return [each for each in (node.get("spec") or {}).get("taints") or [] if each.get("key") == nodehealth.HEALTH]


def _missing(node: HyperPodNode, sides: BothSides) -> Finding | None:
    if node.instance and node.node is None:
        if not sides.asked:
            what = "Kubernetes' side is not known"
            return faults.unknown("node.not-asked", what, "labels, conditions and agents were not read")
        if node.instance.status == "Running":
            return faults.unknown("node.unregistered", "it runs and has not joined Kubernetes", str(node.instance.id))
    if node.instance is None and node.node is not None:
        return faults.unknown("node.without-instance", "SageMaker does not list its instance", str(node.id))
    return None


def _once(found: list[Finding]) -> list[Finding]:
    """Of one id the one that says since when."""
    kept: dict[str, Finding] = {}
    for each in found:
        before = kept.get(each.id)
        if before is None:
            kept[each.id] = each
        elif before.since is None and each.since:
            kept[each.id] = replace(before, since=each.since, evidence=each.evidence)
    return list(kept.values())


def shown(judged: Judged) -> dict[str, Any]:
    """The node's row in `health`."""
    cause, instance = judged.cause, judged.node.instance
    since = next((each.since for each in judged.findings if each.since and each.verdict == judged.verdict), None)
    return {
        "instance_id": judged.node.id,
        "logical_id": instance.logical_id if instance else None,
        "node": judged.node.node_name,
        "group": instance.group if instance else None,
        "verdict": judged.verdict,
        "cause": cause.means if cause else None,
        "evidence": cause.evidence if cause else None,
        "since": since,
        "action": judged.action,
        "repaired_by": cause.repaired if cause else None,
        "running_job": cause.job if cause else "none",
        "findings": [each.as_json() for each in judged.findings[:MAX_SHOWN] if each.verdict != faults.HEALTHY],
        "history": [f"{each.since or 'no time'} {each.id}: {each.evidence}" for each in judged.history[:MAX_SHOWN]],
    }
