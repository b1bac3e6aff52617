"""`reboot`, `replace` and `move`."""

from __future__ import annotations

from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_api import cluster as clusters
from hyperpod_api.cluster import HyperPodCluster
from hyperpod_repair import sending
from hyperpod_repair.deeds import DEEDS, MOVE, Deed
from hyperpod_repair.order import Order, carry_out
from hyperpod_repair.picture import Picture, look


def repair(
    verb: str,
    *,
    cluster: str,
    nodes: tuple[str, ...],
    forced: tuple[str, ...],
    region: str | None,
    where: kube.Where,
    yes: bool,
    dry_run: bool,
    wait: bool,
    timeout: float | None,
) -> shell.Result:
    """`verb`: reboot or replace. Raises SkillError, AwsError."""
    deed = DEEDS[verb]
    picture = look(region, cluster, where)
    refuse_dead(picture, deed)

    def calls(entries: list[dict[str, Any]], token: str) -> list[sending.Call]:
        return sending.calls(deed, picture.cluster, entries)

    return carry_out(picture, Order(deed, nodes, forced, yes, dry_run, wait, timeout or deed.timeout_s, calls))


def move(
    *,
    cluster: str,
    nodes: tuple[str, ...],
    to_group: str,
    to_cluster: str | None,
    forced: tuple[str, ...],
    region: str | None,
    where: kube.Where,
    yes: bool,
    dry_run: bool,
    wait: bool,
    timeout: float | None,
) -> shell.Result:
    """Raises SkillError, AwsError."""
    picture = look(region, cluster, where)
    refuse_dead(picture, MOVE)
    target = clusters.find(picture.sagemaker, to_cluster) if to_cluster else picture.cluster
    refuse_target(picture, target, to_group)

    def calls(entries: list[dict[str, Any]], token: str) -> list[sending.Call]:
        refuse_unmovable(picture, target, to_group, entries)
        return move_calls(picture.cluster, target, to_group, entries, token)

    members = {"to_group": to_group, "to_cluster": target.arn}
    more = {"to": {"cluster": target.name, "group": to_group}}
    return carry_out(picture, Order(MOVE, nodes, forced, yes, dry_run, wait, timeout or MOVE.timeout_s, calls, members, more))


def move_calls(
    source: HyperPodCluster, target: HyperPodCluster, to_group: str, entries: list[dict[str, Any]], token: str
) -> list[sending.Call]:
    """One call a source group. The token is the journal's, so that a call that was killed is not a second move."""
    made: list[sending.Call] = []
    for group in sorted({each["group"] for each in entries}):
        ids = [each["instance_id"] for each in entries if each["group"] == group]
        for first in range(0, len(ids), MOVE.per_call):
            made.append(
                {
                    "SourceClusterArn": source.arn,
                    "SourceInstanceGroupName": group,
                    "TargetClusterArn": target.arn,
                    "TargetInstanceGroupName": to_group,
                    "NodeIds": ids[first : first + MOVE.per_call],
                    "ClientToken": f"trainyard-{token}-{len(made)}",
                }
            )
    return made


def refuse_dead(picture: Picture, deed: Deed) -> None:
    """Raises SkillError conflict for a cluster that is going or never came, and for what Slurm clusters do not have."""
    cluster = picture.cluster
    if cluster.status in ("Deleting", "Failed", "Creating"):
        hint = picture.command("wait", cluster.name) if cluster.status == "Creating" else "manage_hyperpod.py clusters"
        raise shell.SkillError("conflict", f"{cluster.name} is {cluster.status}; nothing was done", hint=hint)
    if deed is MOVE and (picture.is_slurm or not cluster.is_continuous):
        message = f"AWS moves nodes only of EKS clusters with continuous provisioning; {cluster.name} is not one"
        raise shell.SkillError("conflict", message, hint="replace keeps the count; scale changes it")


def refuse_target(picture: Picture, target: HyperPodCluster, to_group: str) -> None:
    if to_group not in target.groups:
        known = ", ".join(sorted(target.groups)[:20])
        raise shell.SkillError(
            "not-found", f"{target.name} has no group {shell.clean(to_group, 80)!r}; it has {known}", hint="--to-group"
        )


def refuse_unmovable(picture: Picture, target: HyperPodCluster, to_group: str, entries: list[dict[str, Any]]) -> None:
    """Before a run is stopped for a move that AWS would refuse. Raises SkillError conflict."""
    group = target.groups[to_group]
    types = {group.get("InstanceType"), *((group.get("InstanceRequirements") or {}).get("DesiredInstanceTypes") or [])}
    of_node = {each.id: each.type for each in picture.instances}
    for each in entries:
        id = each["instance_id"]
        if id is None:
            raise shell.SkillError("conflict", f"{each['logical_id']} has no instance yet to move", hint="wait first")
        if target.arn == picture.cluster.arn and each["group"] == to_group:
            raise shell.SkillError(
                "conflict", f"{id} is in {to_group} already", hint="another --to-group, or without this node"
            )
        if of_node[id] not in types:
            told = ", ".join(sorted(filter(None, types)))
            raise shell.SkillError(
                "conflict", f"{id} is {of_node[id]}, and {to_group} takes {told}", hint="a group of the same type"
            )
