"""`scale`: another number of nodes in one group. More cost money and are asked for once; fewer lose what is on them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_api.calls import Document
from hyperpod_repair import sending
from hyperpod_repair.deeds import DELETE
from hyperpod_repair.order import Order, carry_out
from hyperpod_repair.picture import Picture, look
from hyperpod_repair.verbs import refuse_dead
from hyperpod_requests.journal import Journal
from hyperpod_scaling import shrink
from hyperpod_scaling.cost import cost, reserved
from hyperpod_scaling.group_back import specification
from hyperpod_scaling.growing import Growth, add_calls

MOST = 6758
"""Nodes of a group, in botocore's model."""
MOST_ADDED = 500
TIMEOUT_S = 2400.0


@dataclass(frozen=True)
class Wish:
    group: str
    count: int | None
    add: int | None
    nodes: tuple[str, ...]
    forced: tuple[str, ...]
    yes: bool
    dry_run: bool
    wait: bool
    timeout_s: float

    def target(self, now: int) -> int:
        return self.count if self.count is not None else now + (self.add or 0)


def scale(*, cluster: str, region: str | None, where: kube.Where, timeout: float | None, **wished: Any) -> shell.Result:
    """Raises SkillError usage, not-found, conflict, confirm, timeout; AwsError."""
    wish = Wish(timeout_s=timeout or TIMEOUT_S, **wished)
    if (wish.count is None) == (wish.add is None):
        raise shell.SkillError("usage", "--count N says how many there shall be, --add N how many more", hint="one of the two")
    picture = look(region, cluster, where)
    refuse_dead(picture, DELETE)
    group = group_or_raise(picture, wish.group)
    growth = Growth(picture, Journal(picture.cluster.arn), wish.group, wish.timeout_s)
    if earlier := growth.earlier(wish.count, wish.add):
        return growth.go_on(earlier, wait=wish.wait)
    before = int(group.get("TargetCount") or 0)
    target = wish.target(before)
    refuse_bounds(picture, group, before, target)
    if target == before and not wish.nodes:
        return unchanged(picture, group)
    if target < before or wish.nodes:
        return fewer(picture, wish, group, before, target)
    return more(picture, growth, wish, group, before, target)


def group_or_raise(picture: Picture, name: str) -> Document:
    found = picture.cluster.groups.get(name)
    if found is None:
        known = ", ".join(sorted(picture.cluster.groups)[:20])
        raise shell.SkillError(
            "not-found", f"{picture.cluster.name} has no group {shell.clean(name, 80)!r}; it has {known}", hint="--group"
        )
    return found


def refuse_bounds(picture: Picture, group: Document, before: int, target: int) -> None:
    """Raises SkillError usage, conflict."""
    if target > MOST or target - before > MOST_ADDED:
        raise shell.SkillError(
            "usage", f"{target} nodes: a group has at most {MOST}, and one call adds at most {MOST_ADDED}", hint="--count"
        )
    least = int(group.get("MinCount") or 0)
    if target < least:
        message = f"{group['InstanceGroupName']} has a minimum of {least} nodes; {target} is less"
        raise shell.SkillError("conflict", message, hint="its MinInstanceCount is changed with aws sagemaker update-cluster")
    if picture.cluster.status != "InService" and target != before:
        raise busy(picture)


def busy(picture: Picture) -> shell.SkillError:
    """Which update runs, as far as the cluster tells."""
    groups = [
        f"{name} is {group.get('Status')} ({group.get('CurrentCount')} of {group.get('TargetCount')})"
        for name, group in picture.cluster.groups.items()
        if group.get("Status") != "InService"
    ]
    message = (
        f"{picture.cluster.name} is {picture.cluster.status}: another update runs{': ' if groups else ''}{', '.join(groups)}"
    )
    return shell.SkillError("conflict", message, hint=picture.command("wait", picture.cluster.name), retryable=True)


def unchanged(picture: Picture, group: Document) -> shell.Result:
    name, current, target = group["InstanceGroupName"], group.get("CurrentCount"), group.get("TargetCount")
    data = {"cluster": picture.cluster.name, "group": name, "current": current, "target": target}
    next = [] if current == target else [picture.command("wait", picture.cluster.name, f"--group {name}")]
    return shell.Result(
        data, [shell.Check("scale.target", "pass", f"{name} has {target} nodes as its target already")], next=next
    )


def described(
    picture: Picture, group: Document, before: int, target: int, calls: list[sending.Call], operation: str
) -> dict[str, Any]:
    scaler = (picture.cluster.described.get("AutoScaling") or {}).get("Mode") == "Enable"
    return {
        "cluster": picture.cluster.name,
        "does": f"{group['InstanceGroupName']}: {before} -> {target} nodes",
        **(cost(group, target - before) if target > before else {}),
        **reserved(group),
        "would_send": [{"operation": operation, "request": printable(call)} for call in calls],
        **({"note": "AutoScaling is on: Karpenter changes the count as well"} if scaler else {}),
    }


def printable(call: sending.Call) -> Any:
    """With dates as text."""
    return json.loads(json.dumps(call, default=str))


def more(picture: Picture, growth: Growth, wish: Wish, group: Document, before: int, target: int) -> shell.Result:
    name = wish.group
    if picture.cluster.is_continuous:
        operation, calls = "batch_add_cluster_nodes", add_calls(picture.cluster.name, name, target - before, "TOKEN")
    else:
        operation, calls = "update_cluster", [specification(picture.sagemaker, picture.cluster, name, target)]
    plan = described(picture, group, before, target, calls, operation)
    if wish.dry_run:
        return shell.Result(plan, next=["the same command with --yes instead of --dry-run"])
    shell.confirm(
        wish.yes,
        plan,
        what=f"add {target - before} nodes to {name} of {picture.cluster.name}; they cost money until they are deleted",
    )
    return growth.ask(operation, calls, before=before, target=target, add=wish.add, wait=wish.wait)


def fewer(picture: Picture, wish: Wish, group: Document, before: int, target: int) -> shell.Result:
    """Named nodes go; of the older kind AWS may choose, where nobody works in the group."""
    if wish.nodes:
        shrink.refuse_count(wish.nodes, before, target, wish.count, wish.group)
        shrink.refuse_groups(picture, wish.nodes, wish.group)

        def calls(entries: list[dict[str, Any]], token: str) -> list[sending.Call]:
            return sending.calls(DELETE, picture.cluster, entries)

        return carry_out(
            picture, Order(DELETE, wish.nodes, wish.forced, wish.yes, wish.dry_run, wish.wait, wish.timeout_s, calls)
        )
    shrink.refuse_unnamed(picture, wish.group, before, target)
    spec = specification(picture.sagemaker, picture.cluster, wish.group, target)
    plan = described(picture, group, before, target, [spec], "update_cluster") | {
        "destroys": list(DELETE.destroys),
        "which": "AWS chooses",
    }
    if wish.dry_run:
        return shell.Result(plan, next=["the same command with --yes instead of --dry-run"])
    shell.confirm(wish.yes, plan, what=f"delete {before - target} nodes of {wish.group}; AWS chooses which")
    growth = Growth(picture, Journal(picture.cluster.arn), wish.group, wish.timeout_s)
    return growth.ask("update_cluster", [spec], before=before, target=target, add=None, wait=wish.wait)
