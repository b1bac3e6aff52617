"""What is wrong with pods, and what to do: causes from the pods' own status, and from the events of their making.

`make kit` copies this file; edit it in skills/kit/ only. Each pattern is of a real message. The ids are public (SKILL.md files,
shared-docs/troubleshooting.md), and the flags in the texts are those of every skill that has a copy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import ApiError, Cluster, Object, unknown

Row = tuple[str, str, str]
"""(id, pattern of the message, what to do). Of a table the first row that fits is told."""
UNSCHEDULED: list[Row] = [
    ("volume.zone", r"volume node affinity conflict|PersistentVolume's node affinity", "put the pods into the volume's zone: cluster.node_selector (--node-selector) topology.kubernetes.io/zone=ZONE"),
    ("volume.pending", r"unbound (immediate )?PersistentVolumeClaim|find available persistent volumes", "kubectl describe pvc: does its StorageClass exist, and its driver run?"),
    ("volume.missing", r"persistentvolumeclaim", "checkpoint-manager ensure-volume makes a claim; checkpoints.storage.claim (--claim) names it"),
    ("node.resource", r"Insufficient ", "cluster-manager fit and capacity say what is free; fewer nodes (--nodes), or less of resources.cpu and resources.memory (--cpu, --memory, --gpus, --efa)"),
    ("node.pods", r"Too many pods", "the nodes hold no more pods: another instance type, or fewer pods"),
    ("node.taint", r"untolerated taint", "--toleration of the taint (kubectl describe node names it), if the job may go there"),
    ("node.spread", r"anti-affinity|topology spread", "fewer nodes (--nodes), or another --spread-key"),
    ("node.selector", r"node affinity/selector", "no node has these labels: kubectl get nodes --show-labels; --node-selector"),
    ("node.none", r"no nodes available", "the cluster has no nodes"),
    ("node.unschedulable", r"", "kubectl describe pod; kubectl get nodes: is one cordoned, or not ready?"),
]  # fmt: skip
IMAGE: list[Row] = [
    ("image.not-found", r"not found|does not exist|manifest unknown|NotFound", "build and push the image, or correct image.uri (--image); a digest must be of this registry"),
    ("image.denied", r"denied|no basic auth|unauthorized|authorization failed|\b40[13]\b", "cluster.image_pull_secrets (--image-pull-secret), or the node role's ecr:BatchGetImage"),
    ("image.rate", r"toomanyrequests|rate limit", "a registry of your own (ecr-pusher), or cluster.image_pull_secrets (--image-pull-secret)"),
    ("image.unreachable", r"i/o timeout|no such host|connection refused|dial tcp|network is unreachable", "the nodes do not reach that registry: VPC endpoints, NAT, DNS"),
    ("image.architecture", r"exec format error|no match for platform", "build for the node's architecture: docker buildx --platform"),
    ("image.pull", r"", "kubectl describe pod shows the registry's answer; does the image exist, and may the node pull it?"),
]  # fmt: skip
EVENTS: list[Row] = [
    ("quota", r"exceeded quota", "kubectl describe resourcequota; fewer --nodes, or smaller --cpu --memory --gpus"),
    ("service-account", r'serviceaccount "[^"]*" not found', "make it, or another cluster.service_account (--service-account)"),
    ("priority", r"no PriorityClass with name", "kubectl get priorityclass; another --priority"),
    ("mount.driver", r"driver name \S+ not found", "install that CSI driver: cluster-manager health"),
    # A kubelet that has just got the pod may wait a second for the objects that it mounts: no trouble.
    ("mount", r"^(?!.*failed to sync \w+ cache).*(FailedMount|FailedAttachVolume|MountVolume|Unable to attach or mount)", "the security group must let the file system's port through (FSx 988, EFS 2049); kubectl describe pod"),
    ("pod.forbidden", r"violates PodSecurity", "the namespace's level wants a user other than root: cluster.security.run_as_user: 1000 (--run-as-user 1000); if the message names init-pytorch, that is the training operator's: infrastructure/kubernetes/README.md"),
    ("pod.forbidden", r"forbidden", "ask who rules the namespace (pod security, admission policies)"),
    ("pod.refused", r"^FailedCreate", "correct what the message names; the operator tries again"),
]  # fmt: skip
PULLS = {"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"}
NO_START = ("container.start", "is that program in the image, for this architecture?")
OWNER = (
    "volume.owner",
    "cluster.security.run_as_user: 0 (--run-as-user 0), or fs_group (--fs-group) where the volume's driver applies it, "
    "or give the folder to that user once",
)
WAITING = {
    "CreateContainerConfigError": ("container.config", "does the Secret of secrets (--secret) exist, with that key?"),
    "CreateContainerError": NO_START,
    "RunContainerError": NO_START,
    "CrashLoopBackOff": ("container.crashing", "logs --rank R --previous"),
}
REJECTED = re.compile(r"UnexpectedAdmissionError|Evicted|NodeLost|NodeAffinity|OutOf.+")
"""A pod's reason when its node would not have it; OutOf is followed by a resource: OutOfcpu, OutOfnvidia.com/gpu."""
INIT_STUCK_S = 120.0
MAX_EVENTS = 500


@dataclass(frozen=True)
class Finding:
    id: str
    summary: str
    fix: str


def find_in_pods(pods: Iterable[Object], hints: Mapping[str, str] | None = None) -> list[Finding]:
    """Each cause once, with the number of pods and the first of them. `hints`: what a skill says to do about an id instead."""
    found = _told_once("pod", ((kube.name(pod), each) for pod in pods for each in _of_pod(pod)))
    return [replace(each, fix=(hints or {}).get(each.id, each.fix)) for each in found]


def find_in_events(cluster: Cluster, is_ours: Callable[[str], bool], since: str, own: Iterable[Row] = ()) -> list[Finding]:
    """What stands in no pod, for the pod was never made or waits for a mount: each cause once.

    From warnings about objects whose name is ours, made at `since` (a creationTimestamp) or later: an object of before may have
    had the same name. `own`: the skill's rows, after those of this file. Where events may not be read: `events.unknown`.
    """
    try:
        path = cluster.namespaced("v1", "events")
        events = cluster.get(path, limit=MAX_EVENTS, fieldSelector="type=Warning")["items"] or []
    except ApiError as error:
        check = unknown("events", error)
        return [Finding("events.unknown", check.summary, check.fix or "")]
    ours = [event for event in events if is_ours(str(event["involvedObject"].get("name"))) and _is_since(event, since)]
    rows = [*EVENTS, *own]
    return _told_once("object", ((event["involvedObject"]["name"], each) for event in ours for each in _of_event(event, rows)))


def statuses_of(pod: Object) -> list[Object]:
    """Of its containers; [] before the kubelet has looked at it."""
    return kube.status(pod).get("containerStatuses") or []


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


def age_s(time: str) -> float:
    """Seconds since a time as Kubernetes writes it."""
    return (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()


def _told_once(kind: str, found: Iterable[tuple[str, Finding]]) -> list[Finding]:
    named: dict[str, dict[str, Finding]] = {}
    for name, finding in found:
        named.setdefault(finding.id, {}).setdefault(name, finding)
    return [_merged(kind, names) for names in named.values()]


def _merged(kind: str, names: dict[str, Finding]) -> Finding:
    name, finding = next(iter(names.items()))
    where = f"{kind} {name}" if len(names) == 1 else f"{len(names)} {kind}s, the first is {name}"
    return replace(finding, summary=f"{finding.summary} ({where})")


def _of_pod(pod: Object) -> Iterator[Finding]:
    status = kube.status(pod)
    if REJECTED.fullmatch(str(status.get("reason"))):
        yield Finding("pod.rejected", _words(status), "look at that node: kubectl describe node; cluster-manager health")
    for each in kube.conditions(pod):
        if (each["type"], each["status"]) == ("PodScheduled", "False"):
            yield from _unscheduled(str(each.get("message") or each.get("reason") or ""))
        if (each["type"], each["status"]) == ("DisruptionTarget", "True"):
            yield Finding("pod.disrupted", f"taken from its node: {_words(each)}", "the operator makes it anew; nothing to do")
    for each in status.get("initContainerStatuses") or []:
        yield from _of_container(pod, each, f"init container {each['name']}")
        yield from _stuck(pod, each)
    for each in statuses_of(pod):
        yield from _of_container(pod, each, f"container {each['name']}")


def _unscheduled(message: str) -> Iterator[Finding]:
    """One cause for each kind of node that was turned down: the scheduler tells them in one sentence.

    The next one is about preemption: its reasons are not what is wrong.
    """
    sentence = re.search(r"nodes are available: (.*?)\.(?: |$)", message)
    clauses: dict[Row, list[str]] = {}
    for clause in (sentence[1] if sentence else message).split(", "):
        clauses.setdefault(_row(UNSCHEDULED, clause), []).append(clause)
    for row in sorted(clauses, key=lambda row: row == UNSCHEDULED[-1]):  # what nothing is known about comes last
        yield Finding(row[0], shell.clean(f"not scheduled: {', '.join(clauses[row])}", 300), row[2])


def _of_container(pod: Object, container: Object, name: str) -> Iterator[Finding]:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    if waiting.get("reason") in PULLS:
        image, (id, _, fix) = shell.clean(str(container.get("image")), 200), _row(IMAGE, str(waiting.get("message") or ""))
        yield Finding(id, f"{name}: {image} cannot be pulled: {_words(waiting)}", fix)
    if waiting.get("reason") in WAITING:
        id, fix = WAITING[waiting["reason"]]
        yield Finding(id, f"{name}: {_words(waiting)}", fix)
    for ended in (state.get("terminated"), (container.get("lastState") or {}).get("terminated")):
        yield from _ended(pod, ended or {}, name)


def launcher_word(ended: Object) -> Object:
    """{state, restarts, reason} that a launcher left behind in the status of its pod as it gave up; {} where there is none.

    The container wrote it: its types are checked, and its text is shown and not believed."""
    try:
        told = json.loads(str(ended.get("message") or ""))["trainyard"]
        good = isinstance(told["reason"], str) and type(told["restarts"]) is int and 0 <= told["restarts"] < 2**31
    except (ValueError, TypeError, LookupError, RecursionError):
        return {}
    return {"restarts": told["restarts"], "reason": shell.clean(told["reason"], 300)} if good else {}


def launcher_words(pods: Iterable[Object]) -> list[Object]:
    """What launchers left behind in these pods."""
    statuses = (each for pod in pods for each in statuses_of(pod))
    ends = [(each.get(name) or {}).get("terminated") or {} for each in statuses for name in ("state", "lastState")]
    return [word for word in map(launcher_word, ends) if word]


def _ended(pod: Object, ended: Object, name: str) -> Iterator[Finding]:
    code, told = ended.get("exitCode"), launcher_word(ended).get("reason", "")
    if ended.get("reason") == "OOMKilled" or ": out of memory: " in told:
        yield Finding(
            "memory.out",
            f"{name} was killed for memory",
            "a larger resources.memory (--memory), fewer data workers, a smaller batch",
        )
    elif "Permission denied: " in told and " belongs to user " in told:  # training/trainyard/whose.py
        yield Finding(OWNER[0], f"{name}: {told}", OWNER[1])
    elif " cannot be started: " in told:
        yield Finding(NO_START[0], f"{name}: {told}", NO_START[1])
    elif ended.get("reason") in ("StartError", "ContainerCannotRun") or "exec format error" in str(ended.get("message")):
        yield Finding(NO_START[0], f"{name}: {_words(ended)}", NO_START[1])
    elif code and not kube.is_going(pod) and not kube.holds(pod, "DisruptionTarget"):
        # A pod that is deleted or taken from its node was told to end: 143, and of HyperPod's launcher 1.
        # 128 + n: a signal. 137 alone does not prove that memory ran out.
        how = f"signal {code - 128}" if 128 < code < 160 else "an error of the job"
        yield Finding(f"exit.{code}", f"{name} ended with {code}: {told or how}", "logs; logs --rank R --previous")


def _stuck(pod: Object, container: Object) -> Iterator[Finding]:
    """An init container that has run for long; one that is always restarted is a sidecar, and runs as long as the pod."""
    name, started = container["name"], ((container.get("state") or {}).get("running") or {}).get("startedAt")
    sidecars = {each["name"] for each in pod["spec"].get("initContainers") or [] if each.get("restartPolicy") == "Always"}
    if started and name not in sidecars and age_s(started) > INIT_STUCK_S:
        # The same words at every look: who watches is told once.
        summary = f"init container {name} has run for over {INIT_STUCK_S:.0f} s: a worker waits there for the name of rank 0"
        yield Finding("init.waiting", summary, f"status of rank 0; kubectl logs POD -c {name}; cluster DNS")


def _is_since(event: Object, since: str) -> bool:
    time = event.get("lastTimestamp") or event.get("eventTime") or since
    return datetime.fromisoformat(time) >= datetime.fromisoformat(since)


def _of_event(event: Object, rows: list[Row]) -> Iterator[Finding]:
    text = f"{event.get('reason')}: {event.get('message')}"
    if row := next((row for row in rows if re.search(row[1], text)), None):
        yield Finding(row[0], shell.clean(text, 300), row[2])


def _row(rows: list[Row], text: str) -> Row:
    return next(row for row in rows if re.search(row[1], text))


def _words(part: Object) -> str:
    return shell.clean(": ".join(filter(None, [part.get("reason"), part.get("message")])), 300)
