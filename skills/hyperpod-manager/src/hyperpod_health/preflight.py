"""`health`: which nodes a job should not use, why, since when, and the command that repairs each."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import trainyard_aws as aws
import trainyard_faults as faults
import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_faults import Finding

from hyperpod_api import cluster
from hyperpod_api.calls import SageMaker
from hyperpod_events.reading import Event, Events, read_events
from hyperpod_health.judged import BY_HYPERPOD, Judged, judge, shown
from hyperpod_health.repeats import REMEMBERED, repeats
from hyperpod_nodes.both_sides import BothSides, read
from hyperpod_nodes.joined import INSTANCE_ID, HyperPodNode
from hyperpod_nodes.mismatch import mismatches

RECENT = timedelta(days=1)
EVENTS_OF_NODE = 10
DETAILS = 20
MAX_NAMED = 10
SAID = {
    faults.HEALTHY: ("health.healthy", "pass"),
    faults.DEGRADED: ("health.degraded", "warn"),
    faults.UNKNOWN: ("health.unknown", "unknown"),
    faults.FAULTY: ("health.faulty", "fail"),
}
"""Id and status of the check that names the nodes of a verdict."""


def health(
    sagemaker: SageMaker,
    name: str | None,
    where: kube.Where,
    *,
    node: str | None = None,
    instance_type: str | None = None,
    nodes: int | None = None,
) -> shell.Result:
    """Exit 1 where a node is faulty or unknown, or where fewer than `nodes` of the type are usable. Raises AwsError; SkillError
    conflict, not-found, usage."""
    if (instance_type is None) != (nodes is None):
        raise shell.SkillError(
            "usage", "--instance-type and --nodes go together", hint="--instance-type ml.p5.48xlarge --nodes 2"
        )
    found = cluster.find(sagemaker, name)
    sides = read(sagemaker, found, where)
    chosen = _chosen(sides, node, instance_type)
    events = _events(sagemaker, found)
    told = _of_kubernetes_events(sides)
    judged = [judge(each, sides, told.get(each.node_name or "", [])) for each in chosen]
    checks = sides.checks + mismatches(sides) + _verdicts(judged, found) + events.checks
    checks += repeats(sides, judged, events.found)
    if nodes is not None:
        checks.append(_enough(judged, str(instance_type), nodes))
    data: dict[str, Any] = {
        "cluster": found.name,
        "node_recovery": "automatic" if found.recovers_by_itself else "none",
        "verdicts": dict(Counter(each.verdict for each in judged)),
        "nodes": [_row(each, events.found, found.name, sagemaker.region) for each in sorted(judged, key=_weight)],
    }
    return shell.Result(data, checks, next=_next(judged, found.name, sagemaker.region))


def _chosen(sides: BothSides, node: str | None, instance_type: str | None) -> list[HyperPodNode]:
    found = sides.nodes
    if node is not None:
        found = [each for each in found if node in (each.id, each.node_name, each.instance and each.instance.logical_id)]
        if not found:
            what = f"{sides.cluster.name} has no node {shell.clean(node, 80)!r}"
            hint = (
                f"manage_hyperpod.py nodes {sides.cluster.name}; an id changes with a replacement, or it is another cluster's"
            )
            raise shell.SkillError("not-found", what, hint=hint)
    if instance_type is not None:
        bare = instance_type.removeprefix("ml.")
        found = [each for each in found if _type(each) == bare]
    return found


def _type(each: HyperPodNode) -> str | None:
    label = kube.label(each.node, "node.kubernetes.io/instance-type") if each.node else None
    return (each.instance.type if each.instance else label or "").removeprefix("ml.")


def _weight(each: Judged) -> tuple[int, str, str]:
    return (-faults.ORDER.index(each.verdict), each.node.node_name or "", each.node.id or "")


# --- what was told besides ---------------------------------------------------------------------------------------


def _events(sagemaker: SageMaker, found: cluster.HyperPodCluster) -> Events:
    """Of the days that `repeats` looks back. What SageMaker refuses here is a check: the nodes' own word is still known."""
    try:
        return read_events(sagemaker, found, REMEMBERED, level="Warn", details=DETAILS)
    except aws.AwsError as error:
        if error.code == "credentials":
            raise
        return Events([], [shell.Check("health.events", "unknown", "events were not read", str(error)[:300], error.hint)])


def _of_kubernetes_events(sides: BothSides) -> dict[str, list[Finding]]:
    """What the monitoring agent told of nodes as events, by node: nobody repairs those. The API server keeps them for an hour."""
    if not sides.asked or sides.server is None:
        return {}
    refused: list[shell.Check] = []
    events: list[kube.Object] = []
    with kube.noted("health.node-events", refused):
        path = "/api/v1/namespaces/default/events"  # where those of nodes are, which have no namespace
        events = sides.server.list(path, fieldSelector="involvedObject.kind=Node")
    sides.checks.extend(refused)
    found: dict[str, list[Finding]] = defaultdict(list)
    for event in events:
        reason = str(event.get("reason") or "")
        if event.get("type") == "Warning" and faults.knows_reason(reason):
            evidence = f"event {reason}: {event.get('message') or ''}"
            when = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
            found[str(event["involvedObject"].get("name"))] += faults.of_reason(reason, evidence, when, event=True)
    return found


# --- what is said ------------------------------------------------------------------------------------------------


def _row(judged: Judged, events: list[Event], name: str, region: str) -> dict[str, Any]:
    recent = [each for each in events if each.instance_id and each.instance_id == judged.node.id and _is_recent(each)]
    command = command_for(judged, name, region)
    return {**shown(judged), "events": [each.as_json() for each in recent[:EVENTS_OF_NODE]], "next": command}


def _is_recent(event: Event) -> bool:
    return event.time >= datetime.now(UTC) - RECENT


def command_for(judged: Judged, name: str, region: str) -> str | None:
    """The command that repairs it, without --yes: it prints its plan first. None where there is nothing to repair, or nothing that this program can."""
    id = judged.node.id if judged.node.instance else None
    if judged.action not in ("reboot", "replace") or id is None or INSTANCE_ID.fullmatch(id) is None:
        return None
    return f"manage_hyperpod.py {judged.action} {name} --node {id} --region {region}"


def _next(judged: list[Judged], name: str, region: str) -> list[str]:
    broken = sorted((each for each in judged if each.verdict == faults.FAULTY), key=_weight)
    lines = [line for each in broken if (line := command_for(each, name, region))]
    return lines[:MAX_NAMED] or [f"manage_hyperpod.py events {name} --region {region}"]


def _verdicts(judged: list[Judged], found: cluster.HyperPodCluster) -> list[shell.Check]:
    """One check for each verdict that occurs; without any node nothing is known."""
    if not judged:
        return [shell.Check("health.nodes", "unknown", "there is no node to judge", None, "manage_hyperpod.py nodes")]
    checks = []
    for verdict in reversed(faults.ORDER):
        those = [each for each in judged if each.verdict == verdict]
        if those:
            evidence = None if verdict == faults.HEALTHY else _named(those)
            fix = FIXES.get(verdict)
            if verdict == faults.FAULTY and found.recovers_by_itself and any(_by_hyperpod(each) for each in those):
                fix = f"HyperPod repairs those that it holds back by itself: wait before you do; {fix}"
            checks.append(shell.Check(*SAID[verdict], f"{len(those)} of {len(judged)} nodes are {verdict}", evidence, fix))
    return checks


def _by_hyperpod(each: Judged) -> bool:
    return any(finding.repaired == BY_HYPERPOD for finding in each.findings if finding.verdict == faults.FAULTY)


FIXES = {
    faults.FAULTY: "data.nodes[].next has the repair command for each; it evicts your own pods from the node first",
    faults.DEGRADED: "jobs may run there; data.nodes[].findings say what to look at",
    faults.UNKNOWN: "unknown is not healthy: data.nodes[].findings say what could not be read",
}


def _named(those: list[Judged]) -> str:
    told = []
    for each in those[:MAX_NAMED]:
        cause = each.cause
        told.append(
            f"{each.node.id or each.node.node_name or 'an instance that is not made yet'}: {cause.means if cause else 'no cause'}"
        )
    return "; ".join(told) + (f"; and {len(those) - MAX_NAMED} more" if len(those) > MAX_NAMED else "")


def _enough(judged: list[Judged], instance_type: str, wanted: int) -> shell.Check:
    usable = sum(not each.holds and each.verdict in (faults.HEALTHY, faults.DEGRADED) for each in judged)
    unknown = sum(not each.holds and each.verdict == faults.UNKNOWN for each in judged)
    what = f"{usable} of {len(judged)} nodes of {instance_type} are usable, {wanted} are wanted"
    if usable >= wanted:
        return shell.Check("health.enough", "pass", what)
    status = "unknown" if usable + unknown >= wanted else "fail"
    return shell.Check(
        "health.enough", status, what, f"{unknown} more are unknown" if unknown else None, "repair those that data.nodes names"
    )
