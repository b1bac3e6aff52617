"""What keeps a job from running, by cause and next command: its queue, its pods, the events about what it makes."""

from __future__ import annotations

import ptjob_going
import trainyard_kube as kube
from ptjob_find import Job
from ptjob_nodes import is_ready, shared_nodes
from trainyard_autoscaler import nodes_to_come
from trainyard_offers import with_offers
from trainyard_pods import Finding, find_in_events, find_in_pods
from trainyard_unscheduled import left_to


def find_causes(cluster: kube.Cluster, job: Job, state: str) -> list[Finding]:
    """Of a job in that state. Events are asked for when it does not run and its pods say nothing; of one whose nodes are all
    ready nothing is asked."""
    main = job.engine.container
    if state == "finished":  # how it ended is no trouble; that its pods do not go is one
        return [each for each in find_in_pods(job.pods, main=main) if each.id in STAYS]
    if state == "running":
        late = (pod for pod in job.pods if kube.is_going(pod) or (_runs(pod) and not is_ready(job, pod)))
        return [*find_in_pods(late, main=main), *shared_nodes(job)]
    if state == "suspended":
        return [*waiting_in_queue(job), *(each for each in find_in_pods(job.pods, main=main) if each.id in STAYS)]
    if by := managed_elsewhere(job):
        return [by]
    causes = with_offers(cluster, job.pods, find_in_pods(job.pods, main=main))
    found = [*ptjob_going.finding(job), *nodes_to_come(cluster, job.pods), *causes]
    if found or state == "failed":
        return found
    created = str(job.object["metadata"]["creationTimestamp"])
    return find_in_events(cluster, [job.name, *(job.name + end for end in job.engine.made)], job.pods, created)


STAYS = ("pod.held", "pod.terminating")


def _runs(pod: kube.Object) -> bool:
    return kube.status(pod).get("phase") == "Running"


def managed_elsewhere(job: Job) -> Finding | None:
    by = job.engine.managed_by(job.object)
    return left_to(by) if by and not job.pods else None


def waiting_in_queue(job: Job) -> list[Finding]:
    queue = kube.label(job.object, "kueue.x-k8s.io/queue-name")
    if not queue:
        return []
    summary = f"the job waits in Kueue's queue {queue}, or was preempted"
    return [Finding("queue.waiting", summary, "kubectl get workloads; its conditions say QuotaReserved, Evicted, Preempted")]
