"""What Kubernetes says of a run, as checks: how many nodes run, and each cause that the kit finds in pods, events and the queue."""

from __future__ import annotations

import trainyard_kube as kube
from cluster_run.ended import job_says
from cluster_run.run import ClusterRun, RunPod
from cluster_run.state import Nodes, newest_pods, nodes_of
from run_view.state import RunState
from trainyard_finding import Finding
from trainyard_pods import find_in_events, find_in_pods
from trainyard_refusal import ApiError
from trainyard_shell import Check, clean
from trainyard_unscheduled import left_to

STAYS = ("pod.held", "pod.terminating")
"""What is wrong with the pods of a run that has ended well."""
LOST = ("node.lost", "pod.terminating", "node.silent")
OPERATORS = ("kubeflow.org/training-operator", "trainer.kubeflow.org/trainjob-controller", "kueue.x-k8s.io/multikueue")


def cluster_checks(run: ClusterRun, state: RunState, now: float, start_limit_s: float) -> list[Check]:
    nodes = nodes_of(run)
    checks = [_nodes_check(run, nodes, state, now, start_limit_s), *_of_pods(run, state)]
    if not any(check.status in ("fail", "unknown") for check in checks[1:]) and not nodes.all_run and not state.ended:
        checks += [_check(each, "fail") for each in _of_objects(run)]
    return [*checks, *run.unread]


def _nodes_check(run: ClusterRun, nodes: Nodes, state: RunState, now: float, start_limit_s: float) -> Check:
    name, wanted = "pods.running", nodes.wanted
    text = f"{nodes.running} of {wanted if wanted is not None else len(run.pods)} nodes run"
    evidence = f"{len(run.pods)} pods, {nodes.done} have ended well, {nodes.failed} have failed, {nodes.restarts} restarts"
    if state.ended:
        return Check(name, "skipped", state.told, evidence)
    if nodes.lost:
        fix = "cluster-manager health; kubectl describe node"
        return Check(
            name, "unknown", f"{text}, and {len(nodes.lost)} nodes do not answer: {', '.join(nodes.lost[:4])}", evidence, fix
        )
    if nodes.all_run:
        return Check(name, "pass", text if not nodes.done else f"{text}, {nodes.done} have ended well", evidence)
    since = _newest_change(run)
    waits = since is not None and now - since <= start_limit_s and state.name in ("starting", "stopping", "backing-off")
    fix = "the checks below name the cause where Kubernetes tells one; kubectl describe pod"
    return Check(
        name,
        "unknown" if waits or (not run.pods and state.name == "unknown") else "fail",
        text,
        f"{state.evidence}; {evidence}",
        fix,
    )


def _newest_change(run: ClusterRun) -> float | None:
    from cluster_run.times import seconds

    times = [seconds(pod.object["metadata"].get("creationTimestamp")) for pod in run.pods]
    times += [each for pod in run.pods for own in pod.containers for each in (own.started, own.ended)]
    times += [seconds((run.job or {}).get("metadata", {}).get("creationTimestamp"))]
    return max((each for each in times if each is not None), default=None)


def _of_pods(run: ClusterRun, state: RunState) -> list[Check]:
    main = run.kind.container if run.kind else None
    newest = {pod.uid for pod in newest_pods(run)}
    replaced = [pod for pod in run.pods if pod.uid not in newest and (pod.node_rank or 0) >= 0]
    running = [*(pod for pod in run.pods if pod.runs and pod not in replaced), *replaced]
    others = [pod for pod in run.pods if not pod.runs and pod not in replaced]
    if state.name in ("finished", "stopped"):
        found = find_in_pods([pod.object for pod in run.pods], main=main)
        return [_check(each, "warn") for each in found if each.id in STAYS]
    now_bad = [_check(each, "fail", others) for each in find_in_pods([pod.object for pod in others], main=main)]
    past = find_in_pods([pod.object for pod in running], main=main)
    told = {check.id for check in now_bad}
    # A container that runs again, or a pod that was replaced, has left an end behind: it happened, and is over.
    return [
        *now_bad,
        *(_check(each, "unknown" if each.id in LOST else "warn", running) for each in past if each.id not in told),
    ]


def _of_objects(run: ClusterRun) -> list[Finding]:
    """What stands in no pod: the queue, another controller, events about the job and what it makes."""
    job = run.job
    if job is None:
        return []
    says = job_says(job)
    spec = job.get("spec") or {}
    manager = (spec.get("runPolicy") or spec).get("managedBy") or spec.get("managedBy")
    if manager and manager not in OPERATORS[:2] and not run.pods:
        return [left_to(str(manager))]
    if says.queue and says.suspended:
        summary = f"the job waits in Kueue's queue {clean(says.queue, 80)}, or was preempted"
        return [
            Finding("queue.waiting", summary, "kubectl get workloads; its conditions say QuotaReserved, Evicted, Preempted")
        ]
    name = kube.name(job)
    made = [name, *(name + end for end in ("-master-0", "-worker-0", "-node-0", "-pods-0"))]
    pods = [pod.object for pod in run.pods]
    try:
        return find_in_events(run.cluster, made, pods, str(job["metadata"].get("creationTimestamp")))
    except ApiError as error:
        check = kube.unknown("events", error)
        return [Finding("events.unknown", check.summary, check.fix or "")]


def _check(finding: Finding, status: str, pods: list[RunPod] | None = None) -> Check:
    if finding.id.endswith(".unknown"):
        status = "unknown"
    fix = finding.fix
    if fix.startswith("logs"):  # those of the managers; here kubectl shows them
        pod = next((each for each in pods or [] if each.name in finding.summary), None)
        before = " --previous" if pod and any(each.restarts for each in pod.containers) else ""
        fix = f"kubectl logs {pod.name} -c {pod.main}{before}" if pod else "kubectl logs POD --previous"
    return Check(finding.id, status, finding.summary, None, fix)
