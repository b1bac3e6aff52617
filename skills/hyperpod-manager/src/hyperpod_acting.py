"""The verbs that act, and `wait`: their words. What they do is in hyperpod_repair, hyperpod_scaling and hyperpod_waiting."""

from __future__ import annotations

from typing import Any

import click
import trainyard_kube as kube
import trainyard_shell as shell
from hyperpod_options import CLUSTER, NODES, REGION, acting, timeout


@CLUSTER
@NODES
@acting("900")
def reboot(**given: Any) -> shell.Result:
    """Reboot nodes: 1-3 minutes each; volumes stay, what runs there stops. Our runs are asked to stop first, and save.

    Exit 1: some nodes were not rebooted. Exit 5: somebody else's job runs there, or something is being done already.
    """
    from hyperpod_repair.verbs import repair

    return repair("reboot", **given)


@CLUSTER
@NODES
@acting("2400")
def replace(**given: Any) -> shell.Result:
    """Replace nodes with new hardware: 20-30 minutes, and every volume of the node is lost. Our runs are asked to stop first, and save.

    The same call after a kill goes on, and does not replace the new node. Exit 1: some nodes were not replaced. Exit 5: somebody
    else's job runs there, or something is being done already.
    """
    from hyperpod_repair.verbs import repair

    return repair("replace", **given)


@CLUSTER
@NODES
@click.option("--to-group", required=True, metavar="GROUP", help="Of the same instance type.")
@click.option("--to-cluster", metavar="NAME|ARN", help="Another cluster of the same account and region.  [default: the same]")
@acting("2400")
def move(**given: Any) -> shell.Result:
    """Move nodes to another instance group. Instance and IP stay, every volume of the node is lost; refused as `replace` is."""
    from hyperpod_repair.verbs import move as do

    return do(**given)


@CLUSTER
@click.option("--group", required=True, metavar="GROUP", help="The instance group.")
@click.option("--count", type=click.IntRange(0), metavar="N", help="How many nodes it shall have.")
@click.option("--add", type=click.IntRange(1), metavar="N", help="How many more it shall have.")
@click.option(
    "--node",
    "nodes",
    multiple=True,
    metavar="ID|NAME|LOGICAL_ID",
    help="A node to delete when --count is lower. May be repeated.",
)
@acting("2400")
def scale(**given: Any) -> shell.Result:
    """Another number of nodes in a group; the rest of the group stays as it is. What it costs is in the plan.

    Fewer: with the names of those that go; refused while anybody's job runs there. The same call after a kill adds nothing twice.
    """
    from hyperpod_scaling.scale import scale as do

    return do(**given)


@CLUSTER
@click.option("--node", "nodes", multiple=True, metavar="ID|NAME|LOGICAL_ID", help="May be repeated.")
@click.option("--group", metavar="GROUP", help="An instance group.")
@click.option("--operation", metavar="ID", help="Of ListClusterOperations.")
@timeout("2400")
@REGION
@kube.options
def wait(timeout: float | None, **given: Any) -> shell.Result:
    """Wait for what was asked of the cluster, also by a call that was killed; else until nothing is on its way in it.

    Exit 0: each node is Running, Ready and Schedulable; whether it is healthy, `health` says. Exit 1: something failed. Exit 7: not yet; the same call goes on.
    """
    from hyperpod_waiting.wait import wait as do

    return do(timeout=timeout or 2400.0, **given)


EXAMPLES = {
    reboot: (
        "manage_hyperpod.py reboot trainyard --node i-0123456789abcdef0",
        "manage_hyperpod.py reboot trainyard --node hyperpod-i-0123456789abcdef0 --yes --no-wait",
    ),
    replace: (
        "manage_hyperpod.py replace trainyard --node i-0123456789abcdef0",
        "manage_hyperpod.py replace trainyard --node i-0123456789abcdef0 --yes --timeout 3600",
    ),
    move: (
        "manage_hyperpod.py move trainyard --node i-0123456789abcdef0 --to-group spare",
        "manage_hyperpod.py move trainyard --node i-0123456789abcdef0 --to-group workers --to-cluster other --yes",
    ),
    scale: (
        "manage_hyperpod.py scale trainyard --group workers --add 2",
        "manage_hyperpod.py scale trainyard --group workers --count 3 --node i-0123456789abcdef0 --yes",
    ),
    wait: (
        "manage_hyperpod.py wait trainyard",
        "manage_hyperpod.py wait trainyard --group workers --timeout 3600",
    ),
}
"""Verb -> its examples."""
