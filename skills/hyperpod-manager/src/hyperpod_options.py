"""Options that several verbs of manage_hyperpod.py take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import trainyard_kube as kube
from trainyard_seconds import Seconds

Verb = Callable[..., Any]
REGION = click.option("--region", metavar="NAME", help="AWS region.  [default: AWS_REGION, or the profile's]")
CLUSTER = click.argument("cluster", metavar="CLUSTER")
NODES = click.option(
    "--node",
    "nodes",
    multiple=True,
    required=True,
    metavar="ID|NAME|LOGICAL_ID",
    help="May be repeated; more than 25 go in batches.",
)
FORCE_NODE = click.option(
    "--force-node",
    "forced",
    multiple=True,
    metavar="NAME",
    help="Act on this node (as --node names it) even if another job runs or may run there, or one of ours would be lost.",
)
YES = click.option("--yes", is_flag=True, help="Do it; without it the plan is the answer (exit 6).")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be sent; change nothing.")
WAIT = click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is done, with progress on stderr.")


def timeout(default: str) -> Callable[[Verb], Verb]:
    return click.option("--timeout", type=Seconds(1, 1e6), metavar="SECONDS", help=f"Of the wait.  [default: {default}]")


def acting(default_timeout: str) -> Callable[[Verb], Verb]:
    """What every verb takes that changes nodes, besides which."""

    def decorate(verb: Verb) -> Verb:
        for option in (kube.options, REGION, timeout(default_timeout), WAIT, DRY_RUN, YES, FORCE_NODE):
            verb = option(verb)
        return verb

    return decorate
