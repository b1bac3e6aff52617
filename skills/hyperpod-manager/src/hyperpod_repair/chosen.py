"""Which nodes a call is about. A node's name is no identity, so each word becomes an instance: by its id, logical id, or the join."""

from __future__ import annotations

from collections.abc import Iterable

import trainyard_shell as shell

from hyperpod_nodes.joined import HyperPodNode
from hyperpod_repair.picture import Picture

STEADY = ("Running", "Failure")
"""Statuses in which AWS takes an order for a node; in the others something is going on already."""
MAX_WORDS = 500


def chosen(picture: Picture, words: Iterable[str]) -> list[HyperPodNode]:
    """Each node once, in the order in which they were said. Raises SkillError not-found, conflict, usage."""
    found: dict[str, HyperPodNode] = {}
    for word in words:
        node = one(picture, word)
        found.setdefault(key(node), node)
    if len(found) > MAX_WORDS:
        raise shell.SkillError("usage", f"{len(found)} nodes in one call", hint=f"at most {MAX_WORDS} --node a call")
    return list(found.values())


def key(node: HyperPodNode) -> str:
    """What AWS calls it: the instance's id, the logical id where it has no instance yet."""
    assert node.instance is not None
    return node.instance.id or str(node.instance.logical_id)


def shown(node: HyperPodNode) -> str:
    """As --force-node wants it repeated: Kubernetes' name, else AWS's."""
    return node.node_name or key(node)


def fits(node: HyperPodNode, word: str) -> bool:
    instance = node.instance
    return word in (instance and instance.id, instance and instance.logical_id, node.node_name, node.id)


def one(picture: Picture, word: str) -> HyperPodNode:
    found = [each for each in picture.nodes if fits(each, word)]
    mine = [each for each in found if each.instance]
    if len(mine) == 1:
        return mine[0]
    name = picture.cluster.name
    hint = picture.command("nodes", name) + " lists them; names change when an instance is replaced"
    if found and not mine:
        message = f"{word}: Kubernetes has that node, and {name} does not list its instance {found[0].id}: it is gone, or another cluster's"
        raise shell.SkillError("conflict", message, hint=hint)
    if len(mine) > 1:
        told = ", ".join(key(each) for each in mine)
        raise shell.SkillError(
            "conflict", f"{shell.clean(word, 80)} is {len(mine)} nodes: {told}", hint="name it by its instance id"
        )
    message = f"{shell.clean(word, 80)!r} is no instance id, logical id or node name of {name}"
    raise shell.SkillError("not-found", message, hint=hint)


def refuse_changing(picture: Picture, nodes: Iterable[HyperPodNode]) -> None:
    """Raises SkillError conflict for nodes that something is being done to already."""
    busy = [each for each in nodes if each.instance and each.instance.status not in STEADY]
    if busy:
        told = ", ".join(f"{key(each)} is {each.instance.status}" for each in busy if each.instance)
        hint = picture.command("wait", picture.cluster.name, *(f"--node {key(each)}" for each in busy[:5]))
        raise shell.SkillError("conflict", f"something is being done already: {told}", hint=hint)
