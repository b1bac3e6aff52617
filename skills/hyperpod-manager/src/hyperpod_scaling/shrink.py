"""Which nodes may go when a group shrinks: AWS chooses where none is named, so then none may be in use."""

from __future__ import annotations

import trainyard_shell as shell

from hyperpod_nodes.joined import HyperPodNode
from hyperpod_repair.chosen import key, one
from hyperpod_repair.occupants import occupants
from hyperpod_repair.picture import Picture

LOOKED_AT = 100


def refuse_count(nodes: tuple[str, ...], before: int, target: int, count: int | None, group: str) -> None:
    """Raises SkillError usage where the words contradict each other."""
    if count is None or before - target != len(set(nodes)):
        message = f"{len(set(nodes))} nodes are named, and {group} would go from {before} to {target}"
        raise shell.SkillError("usage", message, hint=f"--count {before - len(set(nodes))} with these nodes, or other nodes")


def refuse_groups(picture: Picture, nodes: tuple[str, ...], group: str) -> None:
    for word in nodes:
        try:
            found = one(picture, word)
        except shell.SkillError as error:
            if error.code == "not-found":
                continue  # the journal may know it: deleted by a call that was killed
            raise
        if found.instance and found.instance.group != group:
            raise shell.SkillError(
                "usage", f"{key(found)} is of the group {found.instance.group}, not of {group}", hint="--group"
            )


def refuse_unnamed(picture: Picture, group: str, before: int, target: int) -> None:
    """Raises SkillError conflict, with nodes that nobody uses in its hint."""
    here = [each for each in picture.nodes if each.instance and each.instance.group == group]
    used, idle = sorted_by_use(picture, here[:LOOKED_AT])
    wanted = before - target
    free = [key(each) for each in idle]
    names = " ".join(f"--node {id}" for id in free[:wanted])
    hint = (
        f"these nobody uses: {names}"
        if len(free) >= wanted
        else f"{len(free)} of them are idle, {wanted} are to go: end jobs first, or name nodes with --node"
    )
    if picture.cluster.is_continuous:
        raise shell.SkillError(
            "conflict", f"which {wanted} of {group}? A cluster with continuous provisioning deletes named nodes", hint=hint
        )
    if used or len(here) > LOOKED_AT:
        first = f"{key(used[0])} is in use, or unknown" if used else f"only {LOOKED_AT} of {len(here)} were looked at"
        raise shell.SkillError("conflict", f"AWS chooses which {wanted} nodes of {group} go, and {first}", hint=hint)


def sorted_by_use(picture: Picture, nodes: list[HyperPodNode]) -> tuple[list[HyperPodNode], list[HyperPodNode]]:
    used = [each for each in nodes if occupants(picture, each).anybody]
    return used, [each for each in nodes if each not in used]
