"""What is wrong with pods, and what to do: causes from the pods' own status, and from the events of their making.

`make kit` copies this file; edit it in skills/kit/ only. Where a pod hangs, there is its table: trainyard_unscheduled.py (no node takes
it), trainyard_placed.py (its node), trainyard_containers.py. Each pattern is of a real message. The ids are public (SKILL.md files,
shared-docs/troubleshooting.md), and the flags in the texts are those of every skill that has a copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime

import trainyard_kube as kube
from trainyard_containers import containers
from trainyard_containers import launcher_words as launcher_words
from trainyard_containers import statuses_of as statuses_of
from trainyard_finding import Finding as Finding
from trainyard_finding import Row as Row
from trainyard_finding import age_s as age_s
from trainyard_finding import findings_of, told_once
from trainyard_kube import ApiError, Cluster, Object, unknown
from trainyard_placed import by_kubelet, placed
from trainyard_unscheduled import unscheduled

EVENTS: list[Row] = [
    ("quota", r"exceeded quota", "kubectl describe resourcequota; fewer --nodes, or smaller --cpu --memory --gpus"),
    ("service-account", r'serviceaccount "[^"]*" not found', "make it, or another cluster.service_account (--service-account)"),
    ("priority", r"no PriorityClass with name", "kubectl get priorityclass; another --priority"),
    ("mount.exclusive", r"Multi-Attach error", "the volume attaches to one node at a time, and is still attached to another: wait until the pod there is gone (kubectl get volumeattachments); for several nodes use a ReadWriteMany claim"),
    ("mount.driver", r"driver name \S+ not found", "install that CSI driver: cluster-manager health"),
    # A kubelet that has just got the pod may wait a second for the objects that it mounts: no trouble.
    ("mount", r"^(?!.*failed to sync \w+ cache).*(FailedMount|FailedAttachVolume|MountVolume|Unable to attach or mount)", "the security group must let the file system's port through (FSx 988, EFS 2049); kubectl describe pod"),
    ("pod.forbidden", r"violates PodSecurity", "the namespace's level wants a user other than root: cluster.security.run_as_user: 1000 (--run-as-user 1000); if the message names init-pytorch, that is the training operator's: infrastructure/kubernetes/README.md"),
    ("pod.network", r"^FailedCreatePodSandBox", "the node's network plugin gives the pod no address: is the subnet used up, does the plugin run on that node? kubectl describe pod"),
    # Of a pod that its operator makes anew at once, this stays.
    ("container.start", r"^Failed: Error: .*(executable file not found|no such file or directory|exec format error|permission denied)", "is that program in the image, for this architecture?"),
    ("pod.forbidden", r"forbidden", "ask who rules the namespace (pod security, admission policies)"),
    ("pod.refused", r"^FailedCreate", "correct what the message names; the operator tries again"),
]  # fmt: skip
ASKED_PODS = 20
"""Of which the events are read, a request each: what keeps one pod from its node mostly keeps its siblings."""


def find_in_pods(pods: Iterable[Object], hints: Mapping[str, str] | None = None, *, main: str | None = None) -> list[Finding]:
    """Each cause once, with the number of pods and the first of them. `hints`: what a skill says to do about an id instead.
    `main`: the name of the container that trains; else it is the first of a pod."""
    found = told_once("pod", ((kube.name(pod), each) for pod in pods for each in _of_pod(pod, main)))
    return [replace(each, fix=(hints or {}).get(each.id, each.fix)) for each in found]


def find_in_events(
    cluster: Cluster, objects: Iterable[str], pods: Iterable[Object], since: str, own: Iterable[Row] = ()
) -> list[Finding]:
    """What stands in no pod, for the pod was never made or waits for a mount: each cause once.

    From warnings about the objects of these names and about the first pods that do not run, made at `since` (a
    creationTimestamp) or later: an object of before may have had the same name. Each is asked for by its name, for others may fill a
    namespace with warnings. `own`: the skill's rows, after those of this file. Where events may not be read: `events.unknown`.
    """
    waiting = [kube.name(pod) for pod in pods if kube.status(pod).get("phase") not in ("Running", "Succeeded")]
    path, ours = cluster.namespaced("v1", "events"), []
    try:
        for name in [*dict.fromkeys([*objects, *waiting[:ASKED_PODS]])]:
            events = cluster.list(path, fieldSelector=f"type=Warning,involvedObject.name={name}")
            ours += [event for event in events if _is_since(event, since)]
    except ApiError as error:
        check = unknown("events", error)
        return [Finding("events.unknown", check.summary, check.fix or "")]
    rows = [*EVENTS, *own]
    return told_once("object", ((event["involvedObject"]["name"], each) for event in ours for each in _of_event(event, rows)))


def pod_row(pod: Object, role: str | None, rank: int, reason: str | None) -> Object:
    """A pod in the answer of `status`."""
    return {
        "name": kube.name(pod),
        "role": role,
        "rank": rank,
        "phase": "Terminating" if kube.is_going(pod) else kube.status(pod).get("phase", "Unknown"),
        "node": pod["spec"].get("nodeName"),
        "restarts": sum(each.get("restartCount") or 0 for each in statuses_of(pod)),
        "reason": reason,
    }


def _of_pod(pod: Object, main: str | None) -> Iterator[Finding]:
    yield from placed(pod)
    yield from unscheduled(pod)
    yield from containers(pod, main)


def _is_since(event: Object, since: str) -> bool:
    time = event.get("lastTimestamp") or event.get("eventTime") or since
    return datetime.fromisoformat(time) >= datetime.fromisoformat(since)


def _of_event(event: Object, rows: list[Row]) -> Iterator[Finding]:
    text = f"{event.get('reason')}: {event.get('message')}"
    time = event.get("lastTimestamp") or event.get("eventTime")
    refused = list(by_kubelet(text, age_s(time) if time else 0.0))
    yield from refused or findings_of(rows, text)
