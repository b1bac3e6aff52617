"""The nodes of a job, one pod each: which of them train, which share a machine, and a row of each for people."""

from __future__ import annotations

import re

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_find import Job
from trainyard_kube import Object
from trainyard_containers import held_by, main_of
from trainyard_finding import Finding
from trainyard_pods import pod_row, statuses_of


def is_running(job: Job, pod: Object) -> bool:
    """The container that trains runs. A pod that is being deleted counts no more: its replacement is on the way."""
    return (
        kube.status(pod).get("phase") == "Running"
        and not kube.is_going(pod)
        and not is_down(job, pod)
        and not has_ended(job, pod)
    )


def is_ready(job: Job, pod: Object) -> bool:
    return is_running(job, pod) and kube.holds(pod, "Ready")


def is_down(job: Job, pod: Object) -> bool:
    """Its container ran and ended, and the kubelet is to start it again: the pod's phase stays Running meanwhile.

    A container that waits for its first start holds the pod in Pending.
    """
    state = main_of(pod, job.engine.container).get("state") or {}
    again = pod["spec"].get("restartPolicy") != "Never"
    ended = "waiting" in state or (again and bool((state.get("terminated") or {}).get("exitCode")))
    return kube.status(pod).get("phase") == "Running" and ended


def has_ended(job: Job, pod: Object) -> bool:
    """Its training has ended for good, though other containers may go on in it."""
    ended = (main_of(pod, job.engine.container).get("state") or {}).get("terminated")
    return ended is not None and kube.status(pod).get("phase") == "Running" and not is_down(job, pod)


def end_behind_others(job: Job) -> tuple[str, str] | None:
    """(finished | failed, why) of a job whose training has ended in every pod, while other containers hold pods: its operator
    sees no end, and never will."""
    pods = [pod for pod in job.pods if not kube.is_going(pod)]
    held = [name for pod in pods for name in held_by(pod, job.engine.container)]
    over = [pod for pod in pods if has_ended(job, pod) or kube.status(pod).get("phase") == "Succeeded"]
    if not held or len(over) < max(len(pods), job.engine.wanted(job.object)):
        return None
    codes = [main_of(pod, job.engine.container).get("state", {}).get("terminated", {}).get("exitCode") for pod in over]
    bad = [code for code in codes if code != 0]
    told = (
        f"its training has ended {'with ' + str(bad[0]) if bad else 'well'} on every node; {held[0]} goes on and holds the pods"
    )
    return ("failed" if bad else "finished"), told


def shared_nodes(job: Job) -> list[Finding]:
    """Pods of one job on one machine, where that was not meant: their accelerators share its network, its end takes both."""
    pods = [pod for pod in job.pods if pod["spec"].get("nodeName") and not kube.is_going(pod)]
    pods = [pod for pod in pods if kube.status(pod).get("phase") == "Running" and (_accelerators(pod) or _is_spread(pod))]
    nodes: dict[str, list[str]] = {}
    for pod in pods:
        nodes.setdefault(pod["spec"]["nodeName"], []).append(kube.name(pod))
    node, names = max(nodes.items(), key=lambda item: len(item[1]), default=("", []))
    if len(names) < 2:
        return []
    summary = f"{len(names)} pods of this job are on node {node}: they share its network, and its end takes all of them"
    fix = "--spread-key kubernetes.io/hostname; or fewer --nodes with more --procs and --gpus each"
    return [Finding("pods.together", summary, fix)]


def _accelerators(pod: Object) -> bool:
    limits = [name for each in pod["spec"]["containers"] for name in (each.get("resources") or {}).get("limits") or {}]
    return any(re.search(r"/.*(gpu|neuron|tpu|mig-)", name) for name in limits)


def _is_spread(pod: Object) -> bool:
    spec = pod["spec"]
    return bool(spec.get("topologySpreadConstraints")) or "podAntiAffinity" in (spec.get("affinity") or {})


def pod_rows(job: Job, limit: int) -> list[Object]:
    """One row a pod in the order of ranks, at most `limit`; those that do not run go before when not all have room."""
    pods = sorted(job.pods, key=lambda pod: (is_running(job, pod), job.rank(pod)))[:limit]
    rows = [pod_row(pod, job.engine.role(pod), job.rank(pod), pod_reason(pod)) for pod in pods]
    return sorted(rows, key=lambda row: (row["rank"], row["name"]))


def pod_reason(pod: Object) -> str | None:
    """Kubernetes' own word for why the pod is not simply running."""
    status = pod["status"]
    for each in [*(status.get("initContainerStatuses") or []), *statuses_of(pod)]:
        state = each.get("state") or {}
        if waiting := (state.get("waiting") or {}).get("reason"):
            return shell.clean(str(waiting), 80)
        ended = state.get("terminated") or {}
        if ended.get("exitCode"):
            return shell.clean(f"{ended.get('reason') or 'Error'} (exit {ended['exitCode']})", 80)
    unplaced = [each for each in kube.conditions(pod) if each["type"] == "PodScheduled" and each["status"] == "False"]
    reason = status.get("reason") or next((each.get("reason") for each in unplaced), None)
    return shell.clean(str(reason), 80) if reason else None
