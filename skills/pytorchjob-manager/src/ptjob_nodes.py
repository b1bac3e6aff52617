"""The nodes of a job, one pod each: which of them train, and a row of each for people."""

from __future__ import annotations

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_find import Job
from trainyard_kube import Object
from trainyard_pods import pod_row, statuses_of


def is_running(job: Job, pod: Object) -> bool:
    """Its container runs. A pod that is being deleted counts no more: its replacement is on the way."""
    return pod["status"].get("phase") == "Running" and not kube.is_going(pod) and not is_down(job, pod)


def is_ready(job: Job, pod: Object) -> bool:
    return is_running(job, pod) and kube.holds(pod, "Ready")


def is_down(job: Job, pod: Object) -> bool:
    """Its container ran and ended, and the kubelet is to start it again: the pod's phase stays Running meanwhile.

    A container that waits for its first start holds the pod in Pending.
    """
    statuses = statuses_of(pod)
    main: Object = next((each for each in statuses if each["name"] == job.engine.container), {})
    state = main.get("state") or {}
    ended = "waiting" in state or bool((state.get("terminated") or {}).get("exitCode"))
    return pod["status"].get("phase") == "Running" and ended


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
