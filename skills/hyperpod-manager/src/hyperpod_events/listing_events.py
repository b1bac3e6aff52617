"""`events`: what happened to a cluster, its groups and its instances."""

from __future__ import annotations

import re
from datetime import timedelta

import trainyard_shell as shell

from hyperpod_api import cluster
from hyperpod_api.calls import SageMaker
from hyperpod_api.instances import instances
from hyperpod_events.reading import read_events
from hyperpod_nodes.joined import INSTANCE_ID

UNITS = {"m": "minutes", "h": "hours", "d": "days"}
SINCE = re.compile(r"(\d{1,5})([mhd])")
MAX_SINCE = timedelta(days=365)


def since_of(text: str) -> timedelta:
    """30m, 24h, 7d. Raises SkillError usage."""
    match = SINCE.fullmatch(text)
    found = timedelta(**{UNITS[match[2]]: int(match[1])}) if match else timedelta(0)
    if not timedelta(0) < found <= MAX_SINCE:
        raise shell.SkillError(
            "usage", f"--since {shell.clean(text, 20)!r} is no time such as 30m, 24h or 7d", hint="--since 24h"
        )
    return found


def list_events(
    sagemaker: SageMaker,
    name: str | None,
    since: str,
    *,
    node: str | None,
    group: str | None,
    level: str,
    details: int,
    limit: int,
) -> shell.Result:
    """Raises AwsError; SkillError usage, not-found (an instance or group that is not the cluster's)."""
    period = since_of(since)
    found = cluster.find(sagemaker, name)
    if group is not None and group not in found.groups:
        raise shell.SkillError(
            "not-found",
            f"{found.name} has no instance group {shell.clean(group, 60)!r}",
            hint=f"it has {', '.join(found.groups)}",
        )
    checks: list[shell.Check] = []
    if node is not None:
        node = instance_of(node)
        if all(each.id != node for each in instances(sagemaker, found)):
            what = f"{node} is none of {found.name}'s instances now: replaced, or of another cluster"
            checks.append(shell.Check("events.node", "warn", what, None, f"manage_hyperpod.py nodes {found.name}"))
    told = read_events(sagemaker, found, period, node=node, group=group, level=level, details=details)
    rows = [event.as_json() for event in told.found]
    data = {
        "cluster": found.name,
        "since": since,
        "total": len(rows),
        "causes_not_asked": told.not_asked,
        "events": rows[:limit],
    }
    graver = [event for event in told.found if event.level == "Error" and event.instance_id]
    next = [
        f"manage_hyperpod.py health {found.name} --node {event.instance_id} --region {sagemaker.region}" for event in graver[:1]
    ]
    return shell.Result(data, checks + told.checks, next=next, truncated=told.truncated or len(rows) > limit)


def instance_of(text: str) -> str:
    """An instance id, or the node's name that carries it. Raises SkillError usage."""
    match = INSTANCE_ID.fullmatch(text) or INSTANCE_ID.fullmatch(text.removeprefix("hyperpod-"))
    if match is None:
        raise shell.SkillError("usage", f"{shell.clean(text, 60)!r} is no instance id", hint="--node i-0123456789abcdef0")
    return match.group()
