"""What would be done, told node by node; and which nodes are refused until their very name is repeated."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_nodes.joined import PREFIX, HyperPodNode
from hyperpod_repair.chosen import fits, key, shown
from hyperpod_repair.deeds import Deed
from hyperpod_repair.occupants import MAX_SHOWN, Occupants, Pod, occupants, told
from hyperpod_repair.picture import Picture
from hyperpod_repair.sending import Call
from hyperpod_repair.survival import run_of

NAMED_PODS = 3


@dataclass(frozen=True)
class Leaving:
    """A node that is to go, and who is on it."""

    node: HyperPodNode
    on_it: Occupants

    @property
    def entry(self) -> dict[str, Any]:
        """As the journal keeps it."""
        instance = self.node.instance
        assert instance is not None
        info = kube.status(self.node.node).get("nodeInfo") or {} if self.node.node else {}
        return {
            "instance_id": instance.id,
            "logical_id": instance.logical_id,
            "node": self.node.node_name,
            "group": instance.group,
            "boot_id": info.get("bootID"),
            "cordoned": False,
        }


def leaving(picture: Picture, nodes: list[HyperPodNode]) -> list[Leaving]:
    return [Leaving(node, occupants(picture, node)) for node in nodes]


def runs_on(picture: Picture, going: list[Leaving]) -> list[dict[str, Any]]:
    """Runs of ours on any of these nodes, each once with all its pods there."""
    pods: dict[str, list[Pod]] = defaultdict(list)
    for each in going:
        for pod in each.on_it.ours:
            pods[str(kube.owner(pod))].append(pod)
    return [run_of(picture, of_run, [each.node for each in going]) for of_run in pods.values()]


def plan(picture: Picture, deed: Deed, going: list[Leaving], runs: list[dict[str, Any]], calls: list[Call]) -> dict[str, Any]:
    cluster = picture.cluster
    return {
        "cluster": cluster.name,
        "does": f"{deed.verb} {len(going)} of {len(picture.instances)} nodes",
        "takes": deed.takes,
        "destroys": list(deed.destroys),
        "nodes": [row(each) for each in going],
        "runs": runs,
        "first": "cordons the nodes, and evicts the pods of our runs: each has its grace period to save",
        "would_send": [{"operation": deed.operation, "request": call} for call in calls],
        **(
            {"note": "NodeRecovery is Automatic: HyperPod repairs faulty nodes by itself as well"}
            if cluster.recovers_by_itself
            else {}
        ),
    }


def row(each: Leaving) -> dict[str, Any]:
    instance, node = each.node.instance, each.node.node
    assert instance is not None
    others = [told(pod) for pod in each.on_it.others]
    return {
        "instance_id": instance.id,
        "logical_id": instance.logical_id,
        "node": each.node.node_name,
        "group": instance.group,
        "instance_type": instance.type,
        "status": instance.status,
        "health": (kube.label(node, PREFIX + "node-health-status") if node else None) or "unknown",
        "our_pods": [kube.name(pod) for pod in each.on_it.ours],
        "others": others[:MAX_SHOWN],
        "others_total": len(others),
        "unknown": each.on_it.unknown,
    }


# --- what is refused ---------------------------------------------------------------------------------------------


def refusals(going: list[Leaving], runs: list[dict[str, Any]]) -> dict[str, str]:
    """Node name -> why it wants its name repeated."""
    found: dict[str, str] = {}
    lost = {pod for run in runs if not run["survives"] for pod in run["pods"]}
    for each in going:
        if each.on_it.unknown:
            found[shown(each.node)] = f"what runs there is unknown, and may be somebody's job: {each.on_it.unknown}"
        elif each.on_it.others:
            named = [f"{pod['namespace']}/{pod['pod']} ({pod['made_by']})" for pod in map(told, each.on_it.others[:NAMED_PODS])]
            more = len(each.on_it.others) - len(named)
            found[shown(each.node)] = f"somebody else's pods run there: {', '.join(named)}{f' and {more} more' if more else ''}"
        elif gone := [kube.name(pod) for pod in each.on_it.ours if kube.name(pod) in lost]:
            found[shown(each.node)] = (
                f"{gone[0]} would not survive it: its checkpoints, or what makes its pod anew, go with the node"
            )
    return found


def refuse(
    picture: Picture,
    going: list[Leaving],
    runs: list[dict[str, Any]],
    deed: Deed,
    forced: tuple[str, ...],
    data: dict[str, Any],
    known: Collection[str] = (),
) -> None:
    """`known`: names of nodes that were asked for before. Raises SkillError conflict with the plan; usage where --force-node names a node that is not asked for."""
    for name in forced:
        if name not in known and not any(name == shown(each.node) for each in going):
            near = next((shown(each.node) for each in going if fits(each.node, name)), None)
            hint = f"--force-node {near}" if near else "it repeats the name of a node that --node names"
            raise shell.SkillError(
                "usage", f"--force-node {shell.clean(name, 80)} is not the name of a node in this call", hint=hint
            )
    found = {name: why for name, why in refusals(going, runs).items() if name not in forced}
    if found:
        told_of = "; ".join(f"{name}: {why}" for name, why in list(found.items())[:NAMED_PODS])
        more = f"; and {len(found) - NAMED_PODS} nodes more" if len(found) > NAMED_PODS else ""
        hint = "ask whose it is. To do it all the same: " + " ".join(f"--force-node {name}" for name in list(found)[:10])
        raise shell.SkillError("conflict", f"{deed.verb} is refused: {told_of}{more}", hint=hint, data=data)


def keys(going: list[Leaving]) -> list[str]:
    return [key(each.node) for each in going]
