"""Nodes that fail again and again, over jobs and replacements: a node that was broken three times is not repaired by a fourth reboot.

Kept nowhere: SageMaker's events remember weeks, the annotation fault-details the node's last faults, Kubernetes an hour.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_events.reading import Event
from hyperpod_health.judged import Judged
from hyperpod_nodes.both_sides import BothSides

REMEMBERED = timedelta(days=7)
TIMES = 2
"""Failures of one node, or broken instances in one node's place."""
OF_A_GROUP = 3
"""Broken instances of one group or zone: then it is no accident of one machine."""
ZONE = "topology.kubernetes.io/zone"
MAX_NAMED = 10


def repeats(sides: BothSides, judged: list[Judged], events: list[Event]) -> list[shell.Check]:
    """`health.repeat`, a warning that names them; nothing where none does."""
    errors = [event for event in events if event.level == "Error" and event.instance_id]
    told = [*_same_instance(judged, errors), *_same_place(sides, errors), *_same_group(sides, judged, errors)]
    if not told:
        return []
    more = f"; and {len(told) - MAX_NAMED} more" if len(told) > MAX_NAMED else ""
    fix = "replace what was only rebooted; where the replacement fails too, tell AWS support with the event ids (`events`)"
    what = f"{len(told)} nodes or places fail again and again, within {REMEMBERED.days} days"
    return [shell.Check("health.repeat", "warn", what, "; ".join(told[:MAX_NAMED]) + more, fix)]


def _same_instance(judged: list[Judged], errors: list[Event]) -> list[str]:
    """By its own faults, each time once, and by SageMaker's errors about it; whichever counts more, for both may tell of the same."""
    by_id: dict[str, set[str]] = defaultdict(set)
    for event in errors:
        by_id[str(event.instance_id)].add(event.time.isoformat())
    told = []
    for each in judged:
        faults_at = {finding.since for finding in each.history if finding.since and finding.verdict != "healthy"}
        if each.node.id:
            by_id[each.node.id] = max(by_id[each.node.id], faults_at, key=len)
    told += [f"{id} failed {len(times)} times" for id, times in sorted(by_id.items()) if len(times) >= TIMES]
    return told


def _same_place(sides: BothSides, errors: list[Event]) -> list[str]:
    """A logical id stays when its instance is replaced: several broken instances behind it."""
    now = {each.id: each.instance.logical_id for each in sides.nodes if each.instance and each.instance.logical_id}
    broken: dict[str, set[str]] = defaultdict(set)
    for event in errors:
        place = event.logical_id or now.get(event.instance_id)
        if place:
            broken[place].add(str(event.instance_id))
    return [
        f"node {place}: {len(ids)} instances broke ({', '.join(sorted(ids)[:5])})"
        for place, ids in sorted(broken.items())
        if len(ids) >= TIMES
    ]


def _same_group(sides: BothSides, judged: list[Judged], errors: list[Event]) -> list[str]:
    zones = {each.id: kube.label(each.node, ZONE) for each in sides.nodes if each.node}
    groups: dict[str, set[str]] = defaultdict(set)
    for event in errors:
        if event.group:
            groups[f"group {event.group}"].add(str(event.instance_id))
        if zone := zones.get(event.instance_id):
            groups[f"zone {zone}"].add(str(event.instance_id))
    for each in judged:
        if each.verdict == "faulty" and each.node.id:
            groups[f"group {each.node.instance.group if each.node.instance else None}"].add(each.node.id)
            if zone := zones.get(each.node.id):
                groups[f"zone {zone}"].add(each.node.id)
    return [f"{place}: {len(ids)} instances broke" for place, ids in sorted(groups.items()) if len(ids) >= OF_A_GROUP]
