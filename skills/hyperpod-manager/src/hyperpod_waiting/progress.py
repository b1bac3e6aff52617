"""How far a request is, node by node, from what AWS and Kubernetes show now. Nothing is remembered but what was asked."""

from __future__ import annotations

import time
from typing import Any

import trainyard_kube as kube

from hyperpod_nodes.joined import HyperPodNode
from hyperpod_repair.picture import Picture
from hyperpod_requests.journal import ACCEPTED, Request
from hyperpod_waiting.groups import BROKEN_CLUSTER, BROKEN_GROUP, WHOLE
from hyperpod_waiting.usable import DONE, FAILED, UNKNOWN, WAITING, Outcome, usable

Entry = dict[str, Any]
REBOOT_S = 180.0
"""A reboot takes one to three minutes, and for that time the instance is not Running."""


def outcomes(picture: Picture, request: Request) -> list[Outcome]:
    """One for each of its nodes, in their order."""
    if request["verb"] in WHOLE:
        return [WHOLE[request["verb"]](picture, request)]
    taken: set[str] = set()
    return [broken_or(picture, entry, judged(picture, request, entry, taken)) for entry in request["nodes"]]


def judged(picture: Picture, request: Request, entry: Entry, taken: set[str]) -> Outcome:
    judge = {"replace": replaced, "reboot": rebooted, "delete": deleted, "move": moved, "node": there}[request["verb"]]
    return judge(picture, request, entry, taken)


def broken_or(picture: Picture, entry: Entry, found: Outcome) -> Outcome:
    """A group or cluster that failed or rolls back makes nothing any more."""
    if found.state != WAITING:
        return found
    group = picture.cluster.groups.get(entry["group"]) or {}
    if picture.cluster.status in BROKEN_CLUSTER:
        reason = picture.cluster.described.get("FailureMessage") or ""
        return Outcome(
            FAILED, f"the cluster is {picture.cluster.status}{': ' if reason else ''}{reason}; {found.text}", found.begun
        )
    if group.get("Status") in BROKEN_GROUP:
        return Outcome(FAILED, f"the group {entry['group']} is {group['Status']}; {found.text}", found.begun)
    return found


def by_id(picture: Picture, id: str | None) -> HyperPodNode | None:
    return next((each for each in picture.nodes if each.instance and id and each.instance.id == id), None)


def by_logical_id(picture: Picture, id: str | None) -> HyperPodNode | None:
    return next((each for each in picture.nodes if each.instance and id and each.instance.logical_id == id), None)


def replaced(picture: Picture, request: Request, entry: Entry, taken: set[str]) -> Outcome:
    """The old id is gone, and another one is there: under the same logical id, else one that the group had not before."""
    old = entry.get("instance_id")
    before = by_id(picture, old)
    if before is not None and before.instance is not None:
        begun = before.instance.status not in ("Running", "Failure")
        return Outcome(WAITING, f"{old} is still there: {before.instance.status}", begun)
    new = by_logical_id(picture, entry.get("logical_id")) or newcomer(picture, request, entry, taken)
    if new is None or new.instance is None:
        return Outcome(WAITING, f"{old} is gone, no instance in its place yet")
    if new.instance.id:
        taken.add(new.instance.id)
    return usable(picture, new)


def newcomer(picture: Picture, request: Request, entry: Entry, taken: set[str]) -> HyperPodNode | None:
    """Clusters without logical ids: an instance of the group that was not there when it was asked."""
    if entry.get("logical_id"):
        return None
    known = {*request.get("ids_before", {}).get(entry["group"], []), *taken}
    fresh = [each for each in picture.nodes if each.instance and each.instance.group == entry["group"] and each.instance.id]
    return next((each for each in fresh if each.instance and each.instance.id not in known), None)


def rebooted(picture: Picture, request: Request, entry: Entry, taken: set[str]) -> Outcome:
    """The kernel's boot id is another one: without Kubernetes nothing tells a node before from one after."""
    node = by_id(picture, entry.get("instance_id"))
    if node is None:
        return Outcome(FAILED, f"{entry.get('instance_id')} is no longer in the cluster: it was replaced or deleted meanwhile")
    found = usable(picture, node, cordoned_by_us=bool(entry.get("cordoned")))
    if picture.is_slurm or not entry.get("boot_id"):
        return _seen_down(request, entry, found)
    if found.state != DONE:
        return found
    if boot_id(node) == entry["boot_id"]:
        return Outcome(WAITING, f"{found.instance_id} has not gone down yet", False)
    return found


def _seen_down(request: Request, entry: Entry, found: Outcome) -> Outcome:
    """Without a boot id only its absence proves it, and that may have been missed between two looks."""
    if found.state != DONE or entry.get("went"):
        return found
    if time.time() - request["asked_at"] < REBOOT_S:
        return Outcome(WAITING, f"{found.instance_id} was not seen to go down yet", request["phase"] == ACCEPTED)
    text = f"{found.text}; no boot id is known and it was not seen to go down, so it may not have rebooted"
    return Outcome(UNKNOWN, text, request["phase"] == ACCEPTED, found.instance_id, found.node)


def boot_id(node: HyperPodNode) -> str | None:
    info = (kube.status(node.node).get("nodeInfo") or {}) if node.node else {}
    return info.get("bootID") or None


def deleted(picture: Picture, request: Request, entry: Entry, taken: set[str]) -> Outcome:
    id = entry.get("instance_id") or entry.get("logical_id")
    node = by_id(picture, entry.get("instance_id")) or by_logical_id(picture, entry.get("logical_id"))
    if node is None or node.instance is None:
        return Outcome(DONE, f"{id} is gone")
    return Outcome(WAITING, f"{id} is {node.instance.status}", node.instance.status not in ("Running", "Failure"))


def moved(picture: Picture, request: Request, entry: Entry, taken: set[str]) -> Outcome:
    """To another cluster: it is gone from this one, and `wait` there says the rest."""
    id = entry.get("instance_id") or entry.get("logical_id")
    node = by_id(picture, entry.get("instance_id")) or by_logical_id(picture, entry.get("logical_id"))
    if request.get("to_cluster") != picture.cluster.arn:
        if node is None or node.instance is None:
            return Outcome(DONE, f"{id} has left for {request.get('to_cluster')}")
        return Outcome(WAITING, f"{id} is {node.instance.status}", node.instance.status != "Running")
    if node is None or node.instance is None:
        return Outcome(WAITING, f"{id} is between the groups")
    if node.instance.group != request.get("to_group"):
        return Outcome(WAITING, f"{id} is {node.instance.status} in {node.instance.group}", node.instance.status != "Running")
    return usable(picture, node)


def there(picture: Picture, request: Request, entry: Entry, taken: set[str]) -> Outcome:
    """A node that is only waited for. Of a logical id whatever instance it has now."""
    node = by_logical_id(picture, entry.get("logical_id")) or by_id(picture, entry.get("instance_id"))
    if node is None:
        return Outcome(FAILED, f"{entry.get('instance_id')} is no longer in the cluster: it was replaced or deleted")
    return usable(picture, node)
