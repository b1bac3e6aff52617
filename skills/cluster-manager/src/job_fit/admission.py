"""What the API server would say to the pods and objects of a job before any scheduler sees them: LimitRanges, quotas, the priority class."""

from __future__ import annotations

from dataclasses import dataclass, field

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_amounts import amount

from job_fit.job import Job
from job_fit.limit_range import Admitted, admit
from job_fit.made import objects_of, pods_of
from job_fit.pod import PodPlan
from job_fit.priority import Priority, priority_of
from job_fit.quota import Making, lacking


@dataclass
class Admission:
    """What the namespace rules with, read once."""

    namespace: str
    priority: Priority
    ranges: list[kube.Object] = field(default_factory=list)
    quotas: list[kube.Object] = field(default_factory=list)
    unknown: list[shell.Check] = field(default_factory=list)
    """Of what may not be read."""

    def admitted(self, job: Job, pod: PodPlan) -> Admitted:
        return admit(pods_of(job, pod), self.ranges)

    def judge(self, job: Job, claim: str | None, pod: PodPlan) -> tuple[list[shell.Check], list[str]]:
        """`fit.limits`, `fit.quota`, perhaps `fit.priority`; and what is missing."""
        admitted = self.admitted(job, pod)
        refusals = [each.why for each in admitted.refusals]
        storage = job.request.checkpoints.storage
        size = amount("memory", storage.size) if storage and storage.size and not claim else 0
        class_ = storage.storage_class if storage else None
        making = Making(admitted.pods, objects_of(job, claim), self.priority.name, size, class_)
        missing = lacking(self.quotas, making)
        own = [self.priority.check] if self.priority.check else []
        unknown = {check.id: check for check in self.unknown}
        checks = [unknown.get("fit.limits") or self._limits(admitted), unknown.get("fit.quota") or self._quota(missing)]
        return [*checks, *own], refusals + missing + [each.summary for each in own if each.status == "fail"]

    def _limits(self, admitted: Admitted) -> shell.Check:
        if admitted.refusals:
            whys = "; ".join(dict.fromkeys(each.why for each in admitted.refusals))
            cures = "; ".join(dict.fromkeys(each.cure for each in admitted.refusals))
            summary = "a LimitRange of the namespace refuses the job's pods"
            return shell.Check("fit.limits", "fail", summary, whys, f"in the job file {cures}")
        if self.ranges:
            names = ", ".join(map(kube.name, self.ranges))
            return shell.Check("fit.limits", "pass", f"LimitRange {names} lets the job's pods through")
        return shell.Check("fit.limits", "pass", f"namespace {self.namespace} has no LimitRange")

    def _quota(self, missing: list[str]) -> shell.Check:
        if missing:
            fix = "fewer nodes, another namespace, resources.limits where a limit is missing, or ask who keeps the quota"
            return shell.Check("fit.quota", "fail", "the namespace's quota is too small", "; ".join(missing), fix)
        summary = f"{len(self.quotas)} quotas leave room" if self.quotas else f"namespace {self.namespace} has no quota"
        return shell.Check("fit.quota", "pass", summary)


def read_admission(cluster: kube.Cluster, job: Job) -> Admission:
    found = Admission(cluster.namespace, priority_of(cluster, job))
    with kube.noted("fit.limits", found.unknown):
        found.ranges = cluster.list(cluster.namespaced("v1", "limitranges"))
    with kube.noted("fit.quota", found.unknown):
        found.quotas = cluster.list(cluster.namespaced("v1", "resourcequotas"))
    return found
