"""Which HyperPod nodes count for a job: not those that the table of faults calls faulty, nor those that HyperPod holds back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import trainyard_faults as faults
import trainyard_nodehealth as nodehealth
import trainyard_shell as shell
from cluster_nodes import Machine, told
from trainyard_instances import known_type

MAX_NAMED = 5
HOLDING = "sagemaker.amazonaws.com/node-health-status"
"""Key of the taint that HyperPod's agent puts on beside the label."""


@dataclass(frozen=True)
class Judged:
    usable: list[Machine]
    against: list[str]
    """A line for each node that does not count."""
    unknown: list[str]
    """A line for each node that counts although nobody can say that it is healthy."""


def judged(target: str, machines: Sequence[Machine]) -> Judged:
    """Everything counts where the job does not go to HyperPod; there other nodes than HyperPod's are not judged."""
    usable, against, unknown = [], [], []
    for machine in machines:
        hyperpod = target == "hyperpod" and nodehealth.is_hyperpod(machine.labels)
        worst = _worst(machine) if hyperpod else None
        line = f"{machine.name}: {worst.means} ({worst.evidence})" if worst else ""
        if worst and (worst.holds or worst.verdict == faults.FAULTY):
            against.append(line)
            continue
        usable.append(machine)
        if worst and worst.verdict == faults.UNKNOWN:
            unknown.append(line)
    return Judged(usable, against, unknown)


def _worst(machine: Machine) -> faults.Finding | None:
    """What speaks against the node: what holds it back before all else, then the worst."""
    conditions = [each for each in told(machine.conditions) if each.type != "Ready"]  # which has a reason of its own
    found = [*nodehealth.of_labels(machine.labels), *nodehealth.of_conditions(conditions)]
    held = next((taint for taint in machine.taints if taint.key == HOLDING and taint.value != "Schedulable"), None)
    if held:
        found.append(faults.of_label("node-health-status", held.value))
    if (kind := known_type(machine.instance_type)) and not machine.watched:
        found.append(
            faults.unknown("agent.none", "no agent watches its accelerators", f"{kind.accelerators} {kind.accelerator}")
        )
    bad = [each for each in faults.by_weight(found) if each.verdict != faults.HEALTHY]
    return next((each for each in bad if each.verdict == faults.FAULTY or each.holds), bad[0] if bad else None)


def health_check(found: Judged) -> shell.Check:
    """`fit.health`: a warning, for the nodes that are left decide whether the job fits."""
    fix = "manage_hyperpod.py health says what to do about each"
    told = [f"left out: {line}" for line in found.against] + [f"unknown: {line}" for line in found.unknown]
    if not told:
        return shell.Check("fit.health", "pass", f"nothing is known against {len(found.usable)} nodes")
    summary = f"{len(found.against)} nodes left out as unhealthy; {len(found.unknown)} used whose health is unknown"
    return shell.Check("fit.health", "warn", summary, "; ".join(_some(told)), fix)


def _some(lines: list[str]) -> list[str]:
    return lines[:MAX_NAMED] + ([f"and {len(lines) - MAX_NAMED} more"] if len(lines) > MAX_NAMED else [])
