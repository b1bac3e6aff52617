"""Why no node takes a pod: its gates, its scheduler, and what kube-scheduler says of the nodes that it turned down.

`make kit` copies this file; edit it in skills/kit/ only. Each pattern is of a real message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_finding import Finding, Row, age_s, how_long, row_of
from trainyard_kube import Object

SELECTOR: Row = (
    "node.selector",
    r"node affinity/selector|node\(s\) didn't match the requested node name",
    "the labels that were asked for (cluster.node_selector, resources.instance_type; --node-selector) against kubectl get nodes --show-labels",
)
OTHER: Row = ("node.unschedulable", r"", "kubectl describe pod; kubectl get nodes: is one cordoned, or not ready?")
UNSCHEDULED: list[Row] = [
    ("volume.deleting", r"persistentvolumeclaim \S+ (is )?being deleted", "no new pod can mount that volume: wait until the pods that use it have ended, then manage_volumes.py ensure-volume makes a new claim. The old claim's checkpoints are deleted unless the volume's reclaim policy is Retain"),
    ("volume.zone", r"volume node affinity conflict|PersistentVolume's node affinity|no available volume zone", "put the pods into the volume's zone: cluster.node_selector (--node-selector) topology.kubernetes.io/zone=ZONE"),
    ("volume.pending", r"unbound (immediate )?PersistentVolumeClaim|find available persistent volumes", "kubectl describe pvc: does its StorageClass exist, and its driver run?"),
    ("volume.lost", r"non-existent pv", "its volume was deleted under the claim: kubectl describe pvc; a claim made anew begins empty"),
    ("volume.space", r"enough free storage", "no node or zone has that much room for a new volume: a smaller checkpoints.storage.size, or another class"),
    ("volume.exclusive", r"ReadWriteOncePod", "only one pod may mount a ReadWriteOncePod claim: end the other pod, or use a ReadWriteMany claim"),
    ("volume.count", r"max volume count", "those nodes hold no more volumes: another instance type, or fewer pods a node"),
    ("volume.missing", r"persistentvolumeclaim", "checkpoint-manager ensure-volume makes a claim; checkpoints.storage.claim (--claim) names it"),
    ("node.resource", r"Insufficient ", "cluster-manager fit and capacity say what is free; fewer nodes (--nodes), or less of resources.cpu and resources.memory (--cpu, --memory, --gpus, --efa)"),
    ("node.device", r"cannot allocate all claims|resourceclaim|ResourceClaim", "the devices that its ResourceClaim asks for are not free: kubectl get resourceclaims,resourceslices"),
    ("node.pods", r"Too many pods", "the nodes hold no more pods: another instance type, or fewer pods"),
    ("node.port", r"free ports for the requested pod ports", "one such pod a node: more nodes, or no hostPort (hostNetwork)"),
    ("node.spread", r"anti-affinity|topology spread|pod affinity rules", "fewer nodes (--nodes), or another --spread-key"),
    ("node.taint", r"untolerated taint|taints that the pod didn't tolerate", "--toleration of the taint (kubectl describe node names it), if the job may go there"),
    ("node.none", r"no nodes available", "the cluster has no nodes"),
    SELECTOR,
    OTHER,
]  # fmt: skip
"""In the order in which they are told: what nodes lack that would do otherwise. What closes nodes comes behind, as it was said."""
CLOSED = ("node.taint", "node.unschedulable", "node.selector")
"""Said of nodes that may never have been meant: next to any other cause, that some have other labels tells nothing."""
KUEUE = "Kueue takes it away when it admits the job: kubectl get workloads; its conditions say what is lacking"
NOBODY_S = 30.0


def unscheduled(pod: Object) -> Iterator[Finding]:
    """Of a pod without a node."""
    gates = [str(each["name"]) for each in pod["spec"].get("schedulingGates") or []]
    if gates:
        yield _gated(kube.name(pod), gates)
        return
    said = next((each for each in kube.conditions(pod) if each["type"] == "PodScheduled"), None)
    if said and said["status"] == "False":
        yield from _turned_down(str(said.get("message") or said.get("reason") or ""))
    elif said is None and not pod["spec"].get("nodeName") and _is_old(pod):
        name = shell.clean(str(pod["spec"].get("schedulerName") or "default-scheduler"), 80)
        summary = f"no scheduler has looked at it for {how_long(age_s(pod['metadata']['creationTimestamp']))}: it asks for the scheduler {name}"
        yield Finding("pod.no-scheduler", summary, f"does {name} run (kubectl get pods -A)? its log; or another schedulerName")


def left_to(manager: str) -> Finding:
    """Of a job whose managedBy names another controller than its operator: no pod of it will be made here, however long one waits."""
    summary = f"managedBy says {manager}: this cluster's operator leaves the job to it, and makes no pods here"
    look = (
        "kubectl get workloads, and look on the cluster that it runs on"
        if "multikueue" in manager
        else "look at that controller"
    )
    fix = f"{look}; or make the job anew without managedBy, which cannot be changed"
    return Finding("job.managed-elsewhere", shell.clean(summary, 300), fix)


def _is_old(pod: Object) -> bool:
    made = pod["metadata"].get("creationTimestamp")
    return kube.status(pod).get("phase") == "Pending" and bool(made) and age_s(made) > NOBODY_S


def _gated(name: str, gates: list[str]) -> Finding:
    """Whoever sets a gate takes it away; its name begins with the domain of who it is."""
    first = shell.clean(gates[0], 100)
    others = f" and {len(gates) - 1} more" if len(gates) > 1 else ""
    domain = first.partition("/")[0] if "/" in first else first
    who = (
        KUEUE
        if "kueue" in domain
        else f"the controller that set it must remove it ({domain}, by its name); read that controller's log"
    )
    command = f"kubectl get pod {name} -o jsonpath='{{.spec.schedulingGates}}'"
    summary = f"held back by the scheduling gate {first}{others}: no scheduler looks at it"
    return Finding("pod.gated", summary, who if "kueue" in domain else f"{who}; {command}")


def _turned_down(message: str) -> Iterator[Finding]:
    """One cause for each kind of node that was turned down: the scheduler tells them in one sentence.

    The next one is about preemption: its reasons are not what is wrong.
    """
    sentence = re.search(r"nodes are available: (.*?)\.(?: |$)", message)
    clauses: dict[Row, list[str]] = {}
    for clause in (sentence[1] if sentence else message).split(", "):
        clauses.setdefault(row_of(UNSCHEDULED, clause), []).append(clause)
    if any(row[0] not in CLOSED for row in clauses):
        clauses.pop(SELECTOR, None)
    for row in sorted(clauses, key=_order):
        yield Finding(row[0], shell.clean(f"not scheduled: {', '.join(clauses[row])}", 300), row[2])


def _order(row: Row) -> tuple[bool, bool, int]:
    closed = row[0] in CLOSED
    return closed, row == OTHER, 0 if closed else UNSCHEDULED.index(row)
