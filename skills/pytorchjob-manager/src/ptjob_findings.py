"""What keeps a job from running, by cause and next command: its queue, its pods, the events about what it makes."""

from __future__ import annotations

import re

import trainyard_kube as kube
from ptjob_find import Job
from ptjob_nodes import is_ready
from trainyard_pods import Finding, find_in_events, find_in_pods


def find_causes(cluster: kube.Cluster, job: Job, state: str) -> list[Finding]:
    """Of a job in that state. Events are asked for when it does not run and its pods say nothing; of one whose nodes are all
    ready nothing is asked."""
    if state == "finished":
        return []
    if state == "running":
        return find_in_pods(pod for pod in job.pods if pod["status"].get("phase") == "Running" and not is_ready(job, pod))
    if state == "suspended":
        return waiting_in_queue(job)
    found = find_in_pods(job.pods)
    if found or state == "failed":
        return found
    ours = re.compile(re.escape(job.name) + f"({job.engine.made})?")  # a job whose name begins alike is another
    created = str(job.object["metadata"]["creationTimestamp"])
    return find_in_events(cluster, lambda name: ours.fullmatch(name) is not None, created)


def waiting_in_queue(job: Job) -> list[Finding]:
    queue = kube.label(job.object, "kueue.x-k8s.io/queue-name")
    if not queue:
        return []
    summary = f"the job waits in Kueue's queue {queue}, or was preempted"
    return [Finding("queue.waiting", summary, "kubectl get workloads; its conditions say QuotaReserved, Evicted, Preempted")]
