"""What a Kubernetes node says of its own health: labels, conditions, and the annotation with HyperPod's faults, read with the table of faults.

`make kit` copies this file into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import trainyard_faults as faults
import trainyard_files
from trainyard_faults import Finding

PREFIX = "sagemaker.amazonaws.com/"
HEALTH, DEEP = f"{PREFIX}node-health-status", f"{PREFIX}deep-health-check-status"
TYPES, REASONS, DETAILS = f"{PREFIX}fault-types", f"{PREFIX}fault-reasons", f"{PREFIX}fault-details"
AGENT_NAMESPACE, AGENT_POD = "aws-hyperpod", "health-monitoring-agent"
"""HyperPod's agent runs on the nodes with GPUs or Neuron devices, one pod each."""
MAX_DETAILS_BYTES = 64 << 10
MAX_DETAILS = 50
POSITIVE = ("Ready", "Healthy", "Available", "Ok", "OK")
"""Types of conditions that are good when they are True, by their end."""


class Condition(NamedTuple):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    since: str | None = None


def is_hyperpod(labels: Mapping[str, str]) -> bool:
    return labels.get(f"{PREFIX}compute-type") == "hyperpod"


def of_node(labels: Mapping[str, str], annotations: Mapping[str, str], conditions: Iterable[Condition]) -> list[Finding]:
    """All that a node says of itself, healthy things included. A HyperPod node without a health label is unknown."""
    hyperpod = [*of_labels(labels), *of_details(annotations)] if is_hyperpod(labels) else []
    conditions = list(conditions)
    if not any(each.type == "Ready" for each in conditions):
        hyperpod.append(faults.unknown("condition.Ready", "the kubelet has not reported yet", "no condition Ready"))
    return hyperpod + of_conditions(conditions)


def of_labels(labels: Mapping[str, str]) -> list[Finding]:
    """HyperPod's. Deep health checks are a choice: without their label nothing is said of them."""
    health = labels.get(HEALTH)
    if health is None:
        found = [faults.unknown("label.node-health-status", "HyperPod has put no health label on it", "no node-health-status")]
    else:
        found = [faults.of_label("node-health-status", health)]
    if (deep := labels.get(DEEP)) is not None:
        found.append(faults.of_label("deep-health-check-status", deep))
    for key in (TYPES, REASONS):
        for name in _words(labels.get(key, "")):
            found += faults.of_fault(name, f"{key.removeprefix(PREFIX)}: {labels[key]}")
    return found


def _words(value: str) -> list[str]:
    """A label cannot hold a comma; several faults are joined by what it can hold."""
    return [each for each in value.replace("__", ".").replace(",", ".").split(".") if each]


def of_conditions(conditions: Iterable[Condition]) -> list[Finding]:
    """What conditions say against the node; nothing where all is well."""
    return [finding for each in conditions for finding in of_condition(each)]


def of_condition(each: Condition) -> list[Finding]:
    """Of one condition. A type that nobody knows is unknown where it is True, or, by its name, should be."""
    evidence = f"{each.type} is {each.status} ({each.reason})" + (f": {each.message}" if each.message else "")
    row = faults.of_condition_type(each.type)
    if row is not None:
        return _of_known(each, row, evidence)
    if each.status == "True" and (found := faults.of_fault_type(each.type, evidence, each.since)):
        return found + (faults.of_fault(each.reason, evidence, each.since) if each.reason else []) + _xids(each, evidence)
    if each.status != ("True" if each.type.endswith(POSITIVE) else "False"):
        return [faults.unknown("condition", f"an unknown condition: {each.type[:60]}", evidence, each.since)]
    return []


def _of_known(each: Condition, row: Mapping[str, Any], evidence: str) -> list[Finding]:
    if each.status not in ("True", "False"):  # the kubelet or the agent is not heard of any more
        if each.type == "Ready":
            return [faults.of_condition(each.type, row, evidence, each.since)]
        return [faults.unknown(f"condition.{each.type}", "its status has not been reported lately", evidence, each.since)]
    if each.status != row["bad"]:
        return []
    return faults.of_reason(each.reason, evidence, each.since) if row.get("agent") else [
        faults.of_condition(each.type, row, evidence, each.since)
    ]  # fmt: skip


def _xids(each: Condition, evidence: str) -> list[Finding]:
    return faults.of_xids(each.message, evidence, each.since)


def is_agent(namespace: str, pod: str) -> bool:
    """Whether a pod is HyperPod's agent."""
    return namespace == AGENT_NAMESPACE and pod.startswith(AGENT_POD)


def has_agent(conditions: Iterable[Condition]) -> bool:
    """Whether EKS's node monitoring agent looks after the accelerators: without any agent nothing said is no good news."""
    return any(each.type == "AcceleratedHardwareReady" for each in conditions)


# --- the annotation fault-details --------------------------------------------------------------------------------


def details_of(annotations: Mapping[str, str]) -> list[dict[str, str]] | None:
    """HyperPod's recent faults: timestamp, type, reason, message, as text. None: it cannot be read."""
    text = annotations.get(DETAILS)
    if not text:
        return []
    raw = text.encode(errors="replace")
    if len(raw) > MAX_DETAILS_BYTES:
        return None
    try:
        document = trainyard_files.parse(raw)
    except trainyard_files.Unusable:
        return None
    rows = document.get("faults") if isinstance(document, dict) and "faults" in document else document
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    names = ("timestamp", "type", "reason", "message")
    return [{name: str(row[name]) for name in names if row.get(name) is not None} for row in rows[:MAX_DETAILS]]


def of_details(annotations: Mapping[str, str]) -> list[Finding]:
    """The annotation keeps faults of before, also those that were repaired: the labels say what holds now. So only what cannot be read
    is a finding of its own; the rest is told with the labels' (`with_times`)."""
    if details_of(annotations) is None:
        return [faults.unknown("fault-details", "the annotation fault-details cannot be read", annotations[DETAILS][:200])]
    return []


def details_findings(annotations: Mapping[str, str]) -> list[Finding]:
    """Of each fault in the annotation, the newest first, with its time."""
    found: list[Finding] = []
    for row in sorted(details_of(annotations) or [], key=lambda each: each.get("timestamp", ""), reverse=True):
        evidence = " ".join(row[name] for name in ("type", "reason", "message") if name in row)
        since = row.get("timestamp")
        for name in ("type", "reason"):
            found += faults.of_fault(row[name], evidence, since) if row.get(name) else []
        found += faults.of_xids(row.get("message", ""), evidence, since)
    return found
