"""What is wrong with a pod as a whole, once it has a node: refused or taken away by its kubelet, stuck in its end, on a node that is silent.

`make kit` copies this file; edit it in skills/kit/ only. The reasons are the kubelet's (Kubernetes 1.36, pkg/kubelet).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_finding import Finding, Row, age_s, how_long, row_of, words_of
from trainyard_kube import Object

REASONS: list[Row] = [
    ("pod.topology", r"^TopologyAffinityError|^SMTAlignmentError", "that node's kubelet rejects a pod whose CPUs and devices do not fit in one NUMA node: lower resources.cpu and resources.memory (--cpu, --memory), ask for a whole node, or set the kubelet's topologyManagerPolicy to best-effort"),
    ("pod.node-shutdown", r"^(NodeShutdown|Terminated|Shutdown)\b", "that node is shutting down or rebooting (maintenance, spot): see kubectl describe node. The pod is recreated on another node; manage_cluster.py health says whether all nodes are there"),
    ("pod.preempted", r"^Preempt", "a system pod needed its place on that node: leave room there (less of resources.cpu and resources.memory), or a higher cluster.priority (--priority)"),
    ("node.lost", r"^NodeLost", "kubectl describe node; cluster-manager health"),
    ("pod.deadline", r"^DeadlineExceeded", "activeDeadlineSeconds of its pods or job is over: a longer one, or none"),
    ("pod.os", r"^PodOS", "the pod is for another operating system than the node: a node selector kubernetes.io/os, and spec.os of the pod"),
    ("pod.rejected", r"^(NodeAffinity|NodeName|TaintToleration|NodeUnschedulable)", "that node has lost a label, or got a taint, since the pod was placed; or nodeName in the pod passed the scheduler by: kubectl describe node"),
    ("pod.rejected", r"^(NodePorts|HostPort)", "its hostPort is taken on that node: one such pod a node, or no hostPort"),
    ("pod.rejected", r"^OutOf", "that node had less free than the scheduler thought, or nodeName in the pod passed the scheduler by: cluster-manager capacity and health (a lost device counts as taken)"),
    ("pod.rejected", r"^VolumeAttachmentLimitExceeded", "the node takes no more volumes: another instance type, or fewer pods a node"),
    ("pod.rejected", r"", "look at that node: kubectl describe node; cluster-manager health"),
]  # fmt: skip
"""By the reason in a pod's status. Nobody but a kubelet or a controller of Kubernetes writes one: an unknown reason is one that is
newer than this table."""
TAKEN = ("pod.node-shutdown", "pod.preempted", "node.lost")
"""The pod was taken from its node: how its containers ended is no error of the job."""
KUBELET = re.compile(
    r"^(TopologyAffinityError|SMTAlignmentError|UnexpectedAdmissionError|OutOf\S+|NodeAffinity|NodeName|NodePorts|NodeShutdown|PodOS\w+"
    r"|TaintToleration|NodeUnschedulable|AppArmor|SysctlForbidden|PodLevelResourcesNotSupported|SupplementalGroupsPolicyNotSupported"
    r"|InvalidNodeInfo|VolumeAttachmentLimitExceeded|Evicted|Preempting): "
)
"""`reason: message` of the events that a kubelet writes beside: of a pod that its operator makes anew at once, nothing else stays."""
GONE_S = 30.0
"""After the end of a pod's grace the kubelet needs some seconds; then something holds it."""
SILENT_S = 30.0
RECENT_S = 300.0


def placed(pod: Object) -> Iterator[Finding]:
    """Of a pod that has, or had, a node."""
    yield from _refused(pod)
    if is_stuck(pod):
        yield _stuck_in_its_end(pod)
    elif not kube.is_going(pod):
        yield from _silent(pod)


def by_kubelet(text: str, told_s: float) -> Iterator[Finding]:
    """From `reason: message` of an event, and its age. An old one is of a pod that has long had its successor."""
    if KUBELET.match(text) and told_s < RECENT_S:
        id, _, fix = row_of(REASONS, text)
        yield Finding(id, shell.clean(text, 300), fix)


def is_stuck(pod: Object) -> bool:
    """Deleted, and still there though its time is over: no other one of its name is made before it is gone."""
    return kube.is_going(pod) and age_s(pod["metadata"]["deletionTimestamp"]) > GONE_S


def was_taken(pod: Object) -> bool:
    """By its node or a controller, rather than ended by itself."""
    reason = str(kube.status(pod).get("reason") or "")
    return kube.holds(pod, "DisruptionTarget") or (bool(reason) and row_of(REASONS, reason)[0] in TAKEN)


def _refused(pod: Object) -> Iterator[Finding]:
    status = kube.status(pod)
    reason = status.get("reason")
    if reason and (status.get("phase") in ("Failed", "Unknown") or reason == "NodeLost"):
        id, _, fix = row_of(REASONS, str(reason))
        yield Finding(id, words_of(status), fix)
        if id != "pod.rejected":
            return  # the condition says the same once more
    for each in kube.conditions(pod):
        if (each["type"], each["status"]) == ("DisruptionTarget", "True"):
            yield Finding(
                "pod.disrupted", f"taken from its node: {words_of(each)}", "the operator makes it anew; nothing to do"
            )


def _stuck_in_its_end(pod: Object) -> Finding:
    name, node = kube.name(pod), pod["spec"].get("nodeName")
    late = how_long(age_s(pod["metadata"]["deletionTimestamp"]))
    finalizers = [shell.clean(str(each), 100) for each in pod["metadata"].get("finalizers") or []]
    if finalizers:
        held = f"the finalizer {finalizers[0]}" + (f" and {len(finalizers) - 1} more" if finalizers[1:] else "")
        fix = f"the controller that set it must remove it (the finalizer's name says which): kubectl get pod {name} -o yaml"
        return Finding("pod.terminating", f"deleted, but still there {late} after its grace period: {held} holds it", fix)
    statuses = kube.status(pod).get("containerStatuses") or []
    ended = bool(statuses) and all("terminated" in (each.get("state") or {}) for each in statuses)
    why = (
        "its containers have ended: a volume that cannot be unmounted"
        if ended
        else "that node does not answer, or a process cannot be killed"
    )
    summary = f"deleted, but still there {late} after its grace period: node {node} has not confirmed its end ({why})"
    fix = (
        f"kubectl describe pod {name}; kubectl describe node {node}; once that machine is off for certain: "
        f"kubectl taint node {node} node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
    )
    return Finding("pod.terminating", summary, fix)


def _silent(pod: Object) -> Iterator[Finding]:
    """The node has not taken the pod up, or tells no more of it."""
    node, status = pod["spec"].get("nodeName"), kube.status(pod)
    made = pod["metadata"].get("creationTimestamp")
    fix = f"kubectl describe node {node}; cluster-manager health"
    if node and status.get("phase") == "Pending" and not status.get("startTime") and made and age_s(made) > SILENT_S:
        summary = f"node {node} has not started this pod in {how_long(age_s(made))}: it does not answer, or no longer exists"
        yield Finding("node.silent", summary, fix)
    ready: Object = next((each for each in kube.conditions(pod) if each["type"] == "Ready"), {})
    if status.get("phase") != "Running" or ready.get("status") != "False" or not kube.holds(pod, "ContainersReady"):
        return
    if ready.get("reason") == "ReadinessGatesNotReady":
        gates = ", ".join(str(each["conditionType"]) for each in pod["spec"].get("readinessGates") or [])
        summary = shell.clean(f"it runs, but its readiness gate is not set: {gates}", 300)
        yield Finding(
            "pod.readiness-gate", summary, "look at the controller of that name; the training itself is not held by it"
        )
    else:
        # The kubelet sets both conditions; only the node controller sets Ready alone, for a node that does not answer.
        yield Finding("node.lost", f"node {node} does not answer: what its containers do is not known", fix)
