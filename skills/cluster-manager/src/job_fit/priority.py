"""The priority of a job's pods: by its class, or by the cluster's default class. Who has more may put others out."""

from __future__ import annotations

from dataclasses import dataclass

import trainyard_kube as kube
import trainyard_shell as shell

from job_fit.job import Job

CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"


@dataclass(frozen=True)
class Priority:
    name: str | None = None
    value: int | None = 0
    """None: it is not known."""
    preempts: bool = True
    check: shell.Check | None = None
    """Where something is to be said about it."""

    @property
    def above(self) -> int | None:
        """Pods of a lower priority than this may be put out for the job; None: nobody."""
        return self.value if self.preempts else None


def priority_of(cluster: kube.Cluster, job: Job) -> Priority:
    """With a queue the class is Kueue's, and the pods have the default one."""
    named = None if job.cluster.queue else job.cluster.priority
    refused: list[shell.Check] = []
    classes: list[kube.Object] = []
    with kube.noted("fit.priority", refused):
        classes = cluster.list(CLASSES)
    if refused:
        # Without a class of its own the job has most likely 0; but nobody is said to be put out for it.
        return Priority(named, None, preempts=False, check=refused[0] if named else None)
    found = next((each for each in classes if (kube.name(each) == named if named else each.get("globalDefault"))), None)
    if found is None and named:
        fix = "kubectl get priorityclasses; cluster.priority names one"
        return Priority(named, check=shell.Check("fit.priority", "fail", f"no PriorityClass {named}", None, fix))
    if found is None:
        return Priority()
    return Priority(kube.name(found), int(found["value"]), found.get("preemptionPolicy") != "Never")
