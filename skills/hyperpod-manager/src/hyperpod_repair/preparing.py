"""Before the call: no new pods come, our runs stop by agreement, and the nodes are looked at once more. An error undoes the cordons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_repair import leaving as stopping
from hyperpod_repair import plan
from hyperpod_repair.chosen import shown
from hyperpod_repair.deeds import Deed
from hyperpod_repair.earlier import Earlier
from hyperpod_repair.leaving import Stop
from hyperpod_repair.picture import Picture
from hyperpod_repair.plan import Leaving
from hyperpod_requests.journal import Journal, Request
from hyperpod_waiting.follow import give_back


@dataclass
class Ready:
    request: Request
    stops: list[Stop] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    checks: list[shell.Check] = field(default_factory=list)


def prepare(
    picture: Picture,
    journal: Journal,
    deed: Deed,
    going: list[Leaving],
    forced: tuple[str, ...],
    earlier: Earlier,
    members: dict[str, Any],
) -> Ready:
    """Raises SkillError; then nothing was sent, and our cordons are undone."""
    entries = [each.entry for each in going]
    for entry, each in zip(entries, going, strict=True):
        free = each.node.node is not None and not each.node.node["spec"].get("unschedulable")
        entry["cordoned"] = free or earlier.cordoned(entry["node"])
    ready = Ready(journal.open(deed.verb, nodes=entries, ids_before=ids_before(picture, going), **members))
    for before in earlier.unsent:
        journal.close(before)
    try:
        _cordon(picture, going, forced, ready)
        _stop(picture, deed, going, forced, ready)
    except (shell.SkillError, KeyboardInterrupt):
        undo(picture, journal, ready.request)
        raise
    return ready


def ids_before(picture: Picture, going: list[Leaving]) -> dict[str, list[str]]:
    """Of groups without logical ids: whoever is not in it came later."""
    groups = {str(each.entry["group"]) for each in going if not each.entry["logical_id"]}
    return {name: [one.id for one in picture.instances if one.group == name and one.id] for name in groups}


def undo(picture: Picture, journal: Journal, request: Request) -> None:
    """What cannot be undone is said, and does not hide the error that led here."""
    for entry in request["nodes"]:
        try:
            give_back(picture, entry)
        except shell.SkillError as error:
            shell.progress(f"if {entry['node']} is cordoned: kubectl uncordon {entry['node']} ({error})")
    journal.close(request)


def _cordon(picture: Picture, going: list[Leaving], forced: tuple[str, ...], ready: Ready) -> None:
    if picture.kubernetes is None:
        return
    for each in going:
        if each.node.node is None:
            continue
        try:
            if stopping.cordon(picture.kubernetes, each.node.node):
                ready.changed.append(f"node {each.node.node_name} cordoned")
        except shell.SkillError as error:
            if shown(each.node) not in forced:
                raise
            ready.checks.append(
                shell.Check(f"cordon.{each.node.node_name}", "warn", f"not cordoned: {error}", None, error.hint)
            )


def _stop(picture: Picture, deed: Deed, going: list[Leaving], forced: tuple[str, ...], ready: Ready) -> None:
    """Somebody's job may have come between the first look and the cordon, so it is looked again."""
    now = plan.leaving(picture, [each.node for each in going])
    runs = plan.runs_on(picture, now)
    plan.refuse(picture, now, runs, deed, forced, {"nodes": [plan.row(each) for each in now]})
    ours = [pod for each in now for pod in each.on_it.ours]
    if picture.kubernetes is None or not ours:
        return
    answering = {kube.name(each.node.node) for each in now if each.node.node and kube.holds(each.node.node, "Ready")}
    ready.stops = stopping.ask_to_stop(picture.kubernetes, ours, answering)
    ready.checks += stopping.checks(ready.stops)
    ready.changed += [f"pod {each.name} evicted" for each in ready.stops if each.evicted]
    stuck = [each for each in ready.stops if not each.evicted and each.pod["spec"]["nodeName"] not in forced]
    if stuck:
        message = f"{stuck[0].name} may not be evicted: {stuck[0].refusal}; nothing was sent to AWS"
        raise shell.SkillError("conflict", message, hint="kubectl get pdb -A; its owner can stop the job")
