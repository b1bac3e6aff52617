"""What Kubernetes' objects say, as lines of text that rules can read: each with the pod and the node that it is about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from cluster_run.times import seconds
from diagnosis.evidence import Evidence, Pod

TEXT_CHARS = 1500
SAME_END_S = 120.0
"""Between the kernel's word on a node and the end of a container that it is about; events carry the kubelet's time, in whole seconds."""
HYPERPOD = re.compile(r"sagemaker\.amazonaws\.com/(node-health-status|deep-health-check-status|fault-types|fault-reasons)$")
STARTING = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class Word:
    place: str
    """pod, event, node or object."""
    text: str
    file: str
    pod: str | None = None
    node: str | None = None
    time: float | None = None
    count: int = 1
    container: str | None = None


def words_of(found: Evidence) -> list[Word]:
    return [*_all_pods(found), *_events(found), *_nodes(found), *_objects(found)]


def started(pod: Pod) -> bool:
    """Whether a container that trains has ever run."""
    statuses = _dicts(_dict(pod.document, "status").get("containerStatuses"))
    return any(
        {"running", "terminated"} & (each.get("state") or {}).keys() or (each.get("lastState") or {}) for each in statuses
    )


def phase(pod: Pod) -> str:
    return str(_dict(pod.document, "status").get("phase") or "")


def main_status(pod: Pod) -> dict[str, Any]:
    """The status of the container that trains: the first of the spec."""
    containers = _dicts(_dict(pod.document, "spec").get("containers"))
    statuses = _dicts(_dict(pod.document, "status").get("containerStatuses"))
    first = containers[0].get("name") if containers else None
    return next((each for each in statuses if each.get("name") == first), statuses[0] if statuses and first is None else {})


def _all_pods(found: Evidence) -> Iterator[Word]:
    for pod in found.pods:
        for text, time, container in _pod(pod):
            yield Word(
                "pod", shell.clean(text, TEXT_CHARS), f"pods/{pod.name}/pod.json", pod.name, pod.node, time, container=container
            )


def _pod(pod: Pod) -> Iterator[tuple[str, float | None, str | None]]:
    status = _dict(pod.document, "status")
    if status.get("reason") and status.get("phase") in ("Failed", "Unknown", "Pending", "Running"):
        yield f"status {status['reason']}: {status.get('message') or ''}", None, None
    for each in _dicts(status.get("conditions")):
        kind = each.get("type")
        if (kind in ("PodScheduled", "Initialized") and each.get("status") == "False") or (
            kind == "DisruptionTarget" and each.get("status") == "True"
        ):
            yield f"condition {kind}={each['status']} {each.get('reason')}: {each.get('message') or ''}", time_of(each), None
    for kind, key in (("init container", "initContainerStatuses"), ("container", "containerStatuses")):
        for each in _dicts(status.get(key)):
            yield from _container(f"{kind} {each.get('name')}", each)


def _container(name: str, status: dict[str, Any]) -> Iterator[tuple[str, float | None, str | None]]:
    state, last = _dict(status, "state"), _dict(status, "lastState")
    container = str(status.get("name"))
    waiting = _dict(state, "waiting")
    if waiting and waiting.get("reason") not in STARTING:
        yield f"{name} waiting {waiting.get('reason')}: {waiting.get('message') or ''}", None, container
    for ended in (_dict(state, "terminated"), _dict(last, "terminated")):
        if ended and not (ended.get("exitCode") == 0 and ended.get("reason") in (None, "Completed")):
            text = (
                f"{name} terminated {ended.get('reason') or 'Error'} exit {ended.get('exitCode')}: {ended.get('message') or ''}"
            )
            yield text, time_of(ended), container


def _events(found: Evidence) -> Iterator[Word]:
    pods = {pod.name: pod for pod in found.pods}
    job = str(found.about.get("job") or "").rpartition("/")[2] or str(found.about.get("run") or "")
    nodes = {pod.node for pod in found.pods if pod.node}
    for each in found.events:
        about = _dict(each, "involvedObject") or _dict(each, "regarding")
        name, kind = str(about.get("name") or ""), str(about.get("kind") or "")
        reason, message = str(each.get("reason") or ""), str(each.get("message") or each.get("note") or "")
        if kind == "Node" and nodes and name not in nodes:
            continue
        if kind == "Node" and not _concerns([pod for pod in found.pods if pod.node == name], reason, time_of(each)):
            continue
        if kind == "Pod" and pods and name not in pods and not (job and name.startswith(job)):
            continue
        pod = pods.get(name)
        node = name if kind == "Node" else pod.node if pod else None
        text = shell.clean(f"event {reason}: {message}", TEXT_CHARS)
        yield Word("event", text, "events.json", name if kind == "Pod" else None, node, time_of(each))


def _concerns(pods: list[Pod], reason: str, time: float | None) -> bool:
    """Whether what happened on a node can be about these pods of the run there.

    Nodes have other tenants: not what was before the pods, and memory that ran out only where a container of theirs ended then.
    """
    known = [pod.document for pod in pods if pod.document]
    if time is None or not known or len(known) < len(pods):
        return True  # nothing proves the contrary
    made = [seconds(_dict(each, "metadata").get("creationTimestamp")) for each in known]
    if all(began is not None and time < began for began in made):
        return False
    if "OOM" not in reason:
        return True
    statuses = [status for each in known for status in _dicts(_dict(each, "status").get("containerStatuses"))]
    states = [_dict(_dict(status, key), "terminated") for status in statuses for key in ("state", "lastState")]
    ends = [seconds(each.get("finishedAt")) for each in states if each.get("exitCode")]
    return any(end is not None and abs(end - time) <= SAME_END_S for end in ends)


def _nodes(found: Evidence) -> Iterator[Word]:
    ours = {pod.node for pod in found.pods if pod.node}
    for name, node in found.nodes.items():
        if ours and name not in ours:
            continue
        file = f"nodes/{name}.json"
        for each in _dicts(_dict(node, "status").get("conditions")):
            text = f"node {each.get('type')}={each.get('status')} {each.get('reason') or ''}: {each.get('message') or ''}"
            yield Word("node", shell.clean(text, TEXT_CHARS), file, None, name, time_of(each))
        for each in _dicts(_dict(node, "spec").get("taints")):
            yield Word(
                "node",
                shell.clean(f"node taint {each.get('key')}={each.get('value') or ''}:{each.get('effect')}", 300),
                file,
                None,
                name,
            )
        for key, value in _dict(_dict(node, "metadata"), "labels").items():
            if match := HYPERPOD.search(str(key)):
                yield Word("node", shell.clean(f"node label {match[1]}={value}", 300), file, None, name)


def _objects(found: Evidence) -> Iterator[Word]:
    for file, thing in found.objects:
        kind, name = thing.get("kind"), _dict(thing, "metadata").get("name")
        status = _dict(thing, "status")
        for each in _dicts(status.get("conditions")):
            text = f"object {kind}/{name} {each.get('type')}={each.get('status')} {each.get('reason') or ''}: {each.get('message') or ''}"
            yield Word("object", shell.clean(text, TEXT_CHARS), file, time=time_of(each))
        if kind == "PersistentVolumeClaim" and status.get("phase"):
            yield Word("object", f"object {kind}/{name} phase={status['phase']}", file)


def job_state(found: Evidence) -> str | None:
    """finished, failed or running, where the job's own object says."""
    for _, thing in found.objects:
        if thing.get("kind") in ("ResourceQuota", "PersistentVolumeClaim", "Workload", "PodGroup", "LimitRange"):
            continue
        held = {str(each.get("type")): each.get("status") for each in _dicts(_dict(thing, "status").get("conditions"))}
        state = str(_dict(thing, "status").get("jobStatus") or "")
        if any(held.get(each) == "True" for each in ("Succeeded", "Complete", "Completed")) or state == "SUCCEEDED":
            return "finished"
        if held.get("Failed") == "True" or state == "FAILED":
            return "failed"
    return None


def time_of(part: dict[str, Any]) -> float | None:
    names = ("lastTimestamp", "eventTime", "lastTransitionTime", "finishedAt", "firstTimestamp")
    return next((time for name in names if (time := seconds(part.get(name))) is not None), None)


def _dict(part: Any, key: str) -> dict[str, Any]:
    value = part.get(key) if isinstance(part, dict) else None
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
