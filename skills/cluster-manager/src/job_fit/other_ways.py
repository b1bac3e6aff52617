"""A job that has no room now: would the scheduler put others out for it, or would the cluster grow?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_nodes import Machine

from job_fit import cluster_autoscaler, karpenter
from job_fit.growth import Wanted
from job_fit.place import Placement
from job_fit.preempt import place_by_preemption
from job_fit.priority import Priority

MAX_NAMED = 8
NOWHERE = Placement(None, (), fits=False)
"""In which zone nodes are added, the autoscaler decides."""


@dataclass(frozen=True)
class OtherWay:
    check: shell.Check | None = None
    """In the place of a `fit.nodes` that fails; None: there is no other way."""
    placement: Placement | None = None
    preempts: list[str] = field(default_factory=list)
    waits_for: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """Who might have added nodes, and why not."""


def other_way(cluster: kube.Cluster, priority: Priority, wanted: Wanted, count: int, machines: Sequence[Machine]) -> OtherWay:
    """Of a job of `count` pods, for which there is no room on these machines as they are."""
    now = f"{count - wanted.short} of {count} pods fit in one zone"
    found = place_by_preemption(wanted.pods, count, machines) if priority.above is not None else None
    if found:
        names = [f"{each.name} ({each.priority})" for each in found.victims]
        summary = (
            f"{count} pods fit in {where(found.placement)} by preemption: {len(names)} pods of a lower priority are evicted"
        )
        told = f"priority {priority.value} ({priority.name or 'the default'}) puts out, such as: {some(names)}"
        fix = "their owners lose them at once; a class with preemptionPolicy: Never waits instead (cluster.priority)"
        check = shell.Check("fit.nodes", "warn", summary, told, fix)
        return OtherWay(check, found.placement, [each.name for each in found.victims])
    grows = karpenter.growth(cluster, wanted)
    grows += cluster_autoscaler.growth(cluster, wanted)
    if grows.may:
        fix = "the job waits until the nodes arrive, which is not guaranteed; `status` shows its progress"
        summary = f"{now} now; nodes may be added by {some(grows.may)}"
        check = shell.Check("fit.nodes", "warn", summary, "; ".join(grows.would_not) or None, fix)
        return OtherWay(check, NOWHERE, waits_for=grows.may)
    if grows.unknown:
        first = grows.unknown[0]
        summary = f"{now} now; whether the cluster would grow is not known: {first.summary}"
        return OtherWay(shell.Check("fit.nodes", "unknown", summary, first.evidence, first.fix))
    return OtherWay(told=[f"{each} (it might have added nodes)" for each in grows.would_not])


def where(placement: Placement) -> str:
    return f"zone {placement.zone}" if placement.zone else "one zone"


def some(names: Sequence[str]) -> str:
    more = [f"and {len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    return ", ".join([*names[:MAX_NAMED], *more])
