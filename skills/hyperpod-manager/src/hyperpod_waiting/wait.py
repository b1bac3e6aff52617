"""`wait`: for what was asked, by this call or one that was killed; else for a cluster, a group, a node or an operation to settle."""

from __future__ import annotations

from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_repair.chosen import chosen
from hyperpod_repair.picture import Picture, look
from hyperpod_requests.journal import ACCEPTED, Journal, Request, about
from hyperpod_waiting import follow
from hyperpod_waiting.follow import Followed, Watch


def wait(
    *,
    cluster: str,
    nodes: tuple[str, ...],
    group: str | None,
    operation: str | None,
    region: str | None,
    where: kube.Where,
    timeout: float,
) -> shell.Result:
    """Exit 1 where something failed. Raises SkillError not-found, conflict, timeout; AwsError."""
    picture = look(region, cluster, where)
    if group and group not in picture.cluster.groups:
        known = ", ".join(sorted(picture.cluster.groups)[:20])
        raise shell.SkillError(
            "not-found", f"{picture.cluster.name} has no group {shell.clean(group, 80)!r}; it has {known}", hint="--group"
        )
    journal = Journal(picture.cluster.arn)
    asked = [] if operation else [each for each in journal.open_requests() if concerns(each, set(nodes), group)]
    requests = asked + settling(picture, asked, nodes, group, operation)
    watch = Watch(picture, journal, [Followed(each) for each in requests], timeout)
    watch.run()
    checks = follow.checks(watch.followed)
    data = {"cluster": picture.cluster.name, "requests": follow.told(watch.followed)}
    failed = any(check.status == "fail" for check in checks)
    verbs = ("events", "health") if failed else ("nodes",)
    return shell.Result(data, checks, next=[picture.command(verb, picture.cluster.name) for verb in verbs])


def concerns(request: Request, nodes: set[str], group: str | None) -> bool:
    groups = {request.get("group"), *(each["group"] for each in request["nodes"])}
    return (not nodes or bool(about(request, nodes))) and (group is None or group in groups)


def settling(
    picture: Picture, asked: list[Request], nodes: tuple[str, ...], group: str | None, operation: str | None
) -> list[Request]:
    """What to look at where nothing of ours says it. Nothing of this is kept."""
    if operation:
        return [unkept("operation", [], operation=operation, group=operation)]
    known = {word for each in asked for word in nodes if about(each, {word})}
    entries = [entry_of(each) for each in chosen(picture, [word for word in nodes if word not in known])]
    if entries:
        return [unkept("node", entries)]
    return [] if asked else [unkept("settle", [], group=group)]


def entry_of(node: Any) -> dict[str, Any]:
    instance = node.instance
    return {"instance_id": instance.id, "logical_id": instance.logical_id, "node": node.node_name, "group": instance.group}


def unkept(verb: str, nodes: list[dict[str, Any]], **members: Any) -> Request:
    import time

    return {"id": "", "verb": verb, "phase": ACCEPTED, "asked_at": time.time(), "nodes": nodes, "sent": [], **members}
