"""Does this job fit now? Nodes, volume, quota and queue put together; every reason against it is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import trainyard_kube as kube
import trainyard_shell as shell
from cluster_amounts import written
from cluster_nodes import Machine, Machines, read_machines
from trainyard_instances import EFA, TYPE_LABEL, ZONE_LABEL, InstanceType, get_instance_type
from trainyard_platform import ARCH, OS, with_platform
from job_fit.admission import Admission, read_admission
from job_fit.growth import Wanted
from job_fit.job import Job
from job_fit.namespace import namespace_checks
from job_fit.node_health import Judged, health_check, judged
from job_fit.other_ways import OtherWay, other_way, where
from job_fit.place import Placement, place, reasons
from job_fit.pod import PodPlan, devices_asked, plan_pod
from job_fit.rules import PodWants, against
from job_fit.sharing import sharing_check
from job_fit.volume import Places, volume_places

MAX_REASONS = 8
KUEUE = "kueue.x-k8s.io"
OF_ITSELF = ("fit.namespace", "fit.security", "fit.network", "fit.queue")
"""Checks whose summary says what is missing."""


@dataclass
class Answer:
    """What is known so far; `placement` None where the nodes cannot be seen."""

    pod: PodPlan
    selector: dict[str, str]
    placement: Placement | None = None
    missing: list[str] = field(default_factory=list)
    checks: list[shell.Check] = field(default_factory=list)
    preempts: list[str] = field(default_factory=list)
    """Pods that the scheduler would put out for the job."""
    waits_for: list[str] = field(default_factory=list)
    """Who may add the nodes that the job needs."""


def fit(cluster: kube.Cluster, job: Job, claim: str | None) -> shell.Result:
    """The verb's answer. `fits` is null where permissions leave it open: then the checks say which."""
    kind = get_instance_type(job.resources.instance_type) if job.resources.instance_type else None
    places = volume_places(cluster, claim, job.request.checkpoints.storage, job.request.nodes)
    admission = read_admission(cluster, job)
    answer = _nodes(cluster, job, kind, places, admission)
    rules, missing = admission.judge(job, claim, answer.pod)
    more = [*namespace_checks(cluster, job), places.check, *rules, _network(job, kind, answer.pod), _queue(cluster, job)]
    answer.missing += places.missing + missing
    answer.missing += [each.summary for each in more if each.status == "fail" and each.id in OF_ITSELF]
    answer.checks += more
    return shell.Result(_data(cluster, job, kind, answer), answer.checks, next=_next(answer))


def _nodes(cluster: kube.Cluster, job: Job, kind: InstanceType | None, places: Places, admission: Admission) -> Answer:
    try:
        machines = read_machines(cluster, admission.priority.above)
    except kube.ApiError as error:
        if error.status != 403:
            raise
        selector = with_platform({**job.cluster.node_selector, **_type_label(job.resources.instance_type, [])})
        return Answer(plan_pod(job, kind, []), selector, checks=[kube.unknown("fit.nodes", error)])
    named = {**job.cluster.node_selector, **_type_label(job.resources.instance_type, machines.all)}
    selector, devices = with_platform(named), devices_asked(job, kind)[0] * job.request.nodes
    tolerations = tuple(msgspec.to_builtins(each) for each in job.cluster.tolerations)
    whole = kind.resource if kind and devices > 1 else None
    asked = PodWants({}, selector, tolerations, tuple(places.groups), tuple(job.cluster.avoid_nodes), whole)
    selected = [one for one in machines.all if all(one.labels.get(key) == value for key, value in named.items())]
    health = judged(job.request.target, selected)
    looked_at = health.usable
    pod = plan_pod(job, kind, [one for one in looked_at if not against(asked, one)] or looked_at)
    wants = replace(asked, requests=admission.admitted(job, pod).requests())
    placement = place(wants, job.request.nodes, looked_at)
    answer = Answer(pod, selector, placement)
    other = OtherWay()
    if not placement.fits and not job.cluster.queue:
        wanted = Wanted(wants, job.request.nodes - len(placement.nodes), kind, machines)
        other = other_way(cluster, admission.priority, wanted, job.request.nodes, looked_at)
    if other.check:
        answer.placement, answer.preempts, answer.waits_for = other.placement, other.preempts, other.waits_for
    answer.checks.append(other.check or _nodes_check(wants, job, health, answer, machines, other.told))
    answer.checks += sharing_check(wants, pod, answer.placement or placement, looked_at)
    if job.request.target == "hyperpod":
        answer.checks.append(health_check(health))
    return answer


def _type_label(name: str | None, machines: Sequence[Machine]) -> dict[str, str]:
    """HyperPod's nodes carry `ml.` before the type, EKS's do not: whichever the job file says, the nodes' own word counts."""
    if name is None:
        return {}
    bare = name.removeprefix("ml.")
    there = {machine.instance_type for machine in machines}
    return {TYPE_LABEL: next((each for each in (name, bare, f"ml.{bare}") if each in there), name)}


def _nodes_check(
    wants: PodWants, job: Job, health: Judged, answer: Answer, machines: Machines, others: list[str]
) -> shell.Check:
    placement = answer.placement
    assert placement is not None
    if placement.fits:
        waiting = machines.waiting_pods
        evidence = f"{waiting} pods of the cluster wait for a node" if waiting else None
        return shell.Check("fit.nodes", "pass", f"{job.request.nodes} pods fit in {where(placement)} now", evidence)
    short = job.request.nodes - len(placement.nodes)
    size = ", ".join(f"{written(key, count)} {key}" for key, count in wants.requests.items() if count)
    answer.missing.append(f"room for {short} of {job.request.nodes} pods in one zone, each {size}")
    told = reasons(wants, health.usable) + health.against
    if placement.rooms:
        told = ["room by zone: " + ", ".join(f"{zone} {count}" for zone, count in placement.rooms), *told]
    elif not told:
        told = [_no_such_nodes(wants.selector, machines.all)]
    told += others
    answer.missing += told[:MAX_REASONS]
    summary = f"{len(placement.nodes)} of {job.request.nodes} pods fit in {where(placement)}"
    if job.cluster.queue:
        fix = f"queue {job.cluster.queue} starts it when there is room"
        return shell.Check("fit.nodes", "warn", f"{summary} now", "; ".join(told), fix)
    fix = "free or add nodes, or run a smaller job; if taints keep pods off, set cluster.tolerations; if a label does, change cluster.node_selector"
    return shell.Check("fit.nodes", "fail", summary, "; ".join(told), fix)


def _no_such_nodes(labels: dict[str, str], machines: Sequence[Machine]) -> str:
    """How many nodes have each label that the job names: the one that none has is wrong."""
    named = {f"{key}={value}": (key, value) for key, value in labels.items() if key not in (ARCH, OS)}
    counts = [f"{label} {sum(one.labels.get(key) == value for one in machines)}" for label, (key, value) in named.items()]
    each = f"; each by itself: {', '.join(counts)} nodes" if len(named) > 1 else ""
    return f"no node has the labels {', '.join(named)}{each}"


def _network(job: Job, kind: InstanceType | None, pod: PodPlan) -> shell.Check:
    if job.request.network == "efa" and not (kind and kind.efa):
        what = f"{kind.name} has no EFA" if kind else "network: efa needs resources.instance_type"
        return shell.Check("fit.network", "fail", what, None, "network: auto, or an instance type with EFA")
    if pod.efa:
        return shell.Check("fit.network", "pass", f"{pod.efa} {EFA} a pod")
    if kind and kind.efa and job.request.nodes > 1 and job.request.network == "auto":
        fix = "install the EFA device plugin, or network: tcp to say that TCP is meant"
        return shell.Check("fit.network", "warn", f"no {kind.name} offers {EFA}: the job would use TCP", None, fix)
    return shell.Check("fit.network", "skipped", "no EFA is asked for")


def _queue(cluster: kube.Cluster, job: Job) -> shell.Check:
    """Kueue decides when a queued job starts; here only whether its queue is there and takes jobs."""
    if job.cluster.queue is None:
        return shell.Check("fit.queue", "skipped", "the job names no queue")
    kube.name_or_raise("queue", job.cluster.queue)
    refused: list[shell.Check] = []
    with kube.noted("fit.queue", refused):
        group = cluster.find(f"/apis/{KUEUE}")
        if group is None:
            what = f"queue {job.cluster.queue}: Kueue is not installed"
            return shell.Check("fit.queue", "fail", what, None, "install it, or no cluster.queue")
        queue = cluster.find(cluster.namespaced(group["preferredVersion"]["groupVersion"], "localqueues", job.cluster.queue))
    if refused:
        return refused[0]
    if queue is None:
        what = f"no queue {job.cluster.queue} in namespace {cluster.namespace}"
        return shell.Check("fit.queue", "fail", what, None, "kubectl get localqueues lists what there is")
    waiting = kube.status(queue).get("pendingWorkloads", 0)
    return shell.Check("fit.queue", "warn" if waiting else "pass", f"queue {job.cluster.queue}: {waiting} workloads wait in it")


def _data(cluster: kube.Cluster, job: Job, kind: InstanceType | None, answer: Answer) -> dict[str, Any]:
    statuses = {check.status for check in answer.checks}
    placement = answer.placement
    zone = placement.zone if placement else None
    return {
        "fits": False if "fail" in statuses else None if "unknown" in statuses else True,
        "engine": job.request.engine or "pytorchjob",
        "nodes": [machine.name for machine in placement.nodes] if placement else [],
        "zone": zone,
        "room": placement.rooms[0][1] if placement and placement.rooms else 0,
        "instance_type": answer.selector.get(TYPE_LABEL),
        "node_selector": {**answer.selector, **({ZONE_LABEL: zone} if zone else {})},
        "missing": answer.missing,
        "usd_per_hour": _usd_per_hour(job, kind, answer.pod),
        "network": "efa" if answer.pod.efa else "tcp",
        "pod": answer.pod.as_json(),
        "procs_per_node": answer.pod.procs,
        **{key: each for key in ("preempts", "waits_for") if (each := getattr(answer, key))},
        "cluster": cluster.identity(),
    }


def _usd_per_hour(job: Job, kind: InstanceType | None, pod: PodPlan) -> float | None:
    """The job's part of its nodes, by the table's price."""
    if kind is None or kind.usd_per_hour is None:
        return None
    return round(kind.usd_per_hour * job.request.nodes * pod.gpus / kind.accelerators, 3)


def _next(answer: Answer) -> list[str]:
    if any(check.status in ("fail", "unknown") for check in answer.checks):
        return ["manage_cluster.py capacity"]
    kind = answer.selector.get(TYPE_LABEL)
    network = "efa" if answer.pod.efa else "tcp"
    return [f"manage_cluster.py network-env --instance-type {kind} --network {network}"] if kind and answer.pod.gpus else []
