"""What a job shares although it fits: a node with another pod of its own, a device with pods of others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import trainyard_shell as shell
from cluster_nodes import Machine
from job_fit.place import Placement
from job_fit.pod import PodPlan
from job_fit.rules import PodWants, against, in_parts, not_whole, room

MAX_NAMED = 5


def sharing_check(wants: PodWants, pod: PodPlan, placement: Placement, machines: Sequence[Machine]) -> list[shell.Check]:
    """Warnings: of a job without accelerators none, for nothing of it is slower or lost by it."""
    if not (placement.fits and pod.gpus and pod.gpu_resource):
        return []
    return [*_nodes(placement), *_devices(wants, pod.gpu_resource, placement, machines)]


def _nodes(placement: Placement) -> list[shell.Check]:
    """Pods that fit on fewer nodes only: one node that fails takes several of them."""
    pods = Counter(machine.name for machine in placement.nodes)
    if len(pods) == len(placement.nodes):
        return []
    several = [f"{name} {count} pods" for name, count in pods.most_common(MAX_NAMED) if count > 1]
    summary = f"{len(placement.nodes)} pods fit on {len(pods)} nodes only: some share a node, and fail together with it"
    fix = "fewer nodes with more procs_per_node: ranks of one pod reach each other by NVLink and shared memory"
    return [shell.Check("fit.sharing", "warn", summary, ", ".join(several), fix)]


def _devices(wants: PodWants, resource: str, placement: Placement, machines: Sequence[Machine]) -> list[shell.Check]:
    """A job of one device may get a shared one; of several, the scheduler does not know which nodes this program left out."""
    if wants.whole is None:
        others = [one for one in placement.nodes if in_parts(one, resource)]
        summary = "the job's device is not its own: a slice, or shared with other pods"
    else:
        pods = replace(wants, whole=None)
        others = [one for one in machines if against(wants, one) and not against(pods, one) and room(wants, one)]
        summary = f"{len(others)} nodes are left out for their GPUs, but the scheduler may still choose them"
    if not others:
        return []
    told = [f"{one.name}: {not_whole(each)}" for one in others for each in in_parts(one, resource)]
    fix = "cluster.node_selector with a label of the nodes that have whole GPUs, such as nvidia.com/gpu.product"
    return [shell.Check("fit.devices", "warn", summary, "; ".join(told[:MAX_NAMED]), fix)]
