#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "kubernetes>=35,!=36.0.0",
#   "msgspec>=0.19",
#   "PyYAML>=6.0.2",
#   "urllib3>=2.0",
# ]
# ///
"""The volume that holds the checkpoints of a run on a cluster: make it once, find it again, list, delete."""

from __future__ import annotations

import trainyard_shell as shell

from typing import Any

import click

import trainyard_kube as kube

SCRIPT = "manage_volumes.py"
RUN = "--run-id 0123456789abcdef"


@shell.program("checkpoint-manager")
def cli() -> None:
    """The volume that holds the checkpoints of a run on a cluster: make it once, find it again, list, delete."""


@cli.command(
    "ensure-volume",
    epilog=shell.examples(
        f"{SCRIPT} ensure-volume tiny-lm {RUN} --storage-class fsx --size 1200Gi --nodes 4",
        f"{SCRIPT} ensure-volume tiny-lm {RUN} --claim shared-fsx --nodes 4 --zone us-west-2a",
        f"{SCRIPT} ensure-volume tiny-lm {RUN} --nodes 2 --dry-run",
        f"{SCRIPT} ensure-volume --request request.json",
    ),
)
@click.argument("name", required=False)
@click.option(
    "--request", metavar="FILE", help="A request, - is stdin: run id, nodes, checkpoints.storage and zone are read there."
)
@click.option(
    "--run-id", metavar="HEX", help="The run's id, 16 hex digits: the claim belongs to it. Needed, here or in the request."
)
@click.option("--storage-class", metavar="CLASS", help="Default: the cluster's default class.")
@click.option("--size", metavar="QUANTITY", help="As in 500Gi. Default: 100Gi; FSx 1200Gi; a free volume's.")
@click.option("--nodes", type=click.IntRange(1, 100_000), default=1, show_default=True, help="Nodes that write to it.")
@click.option("--claim", metavar="NAME", help="Use this claim as it is: checked, never changed.")
@click.option("--zone", metavar="ZONE", help="Where the run's nodes are; a volume elsewhere is refused.")
@click.option("--access-mode", type=click.Choice(["ReadWriteMany", "ReadWriteOnce"]), help="Default: by the storage.")
@click.option("--use", type=click.Choice(["checkpoints", "data"]), default="checkpoints", show_default=True)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, 3600),
    default=30.0,
    show_default=True,
    help="Seconds to wait for it to be bound.",
)
@click.option("--dry-run", is_flag=True, help="Check, validate on the server, print what would be sent; make nothing.")
@kube.options
def ensure_volume(
    where: kube.Where, dry_run: bool, timeout_s: float, name: str | None, request: str | None, **words: Any
) -> shell.Result:
    """Make the claim NAME-<run id> if it is not there, or check an existing one. Exit 1: unfit, with the reason; nothing was made."""
    from checkpoint_volumes.ask import ask_of
    from checkpoint_volumes.claim import ensure, use_existing

    ask = ask_of(name, request, words)
    cluster = kube.connect(where)
    return use_existing(cluster, ask) if ask.claim else ensure(cluster, ask, dry_run=dry_run, timeout_s=timeout_s)


@cli.command("list-volumes", epilog=shell.examples(f"{SCRIPT} list-volumes -n ml", f"{SCRIPT} list-volumes {RUN} --json"))
@click.option("--run-id", metavar="HEX", help="Only those of this run.")
@click.option("--limit", type=click.IntRange(0, 100_000), default=50, show_default=True, help="Rows printed at most.")
@kube.options
def list_volumes(where: kube.Where, run_id: str | None, limit: int) -> shell.Result:
    """The claims of Trainyard's runs in the namespace, newest first, and how many pods use each."""
    from checkpoint_volumes.ask import run_id_or_raise
    from checkpoint_volumes.listing import rows

    if run_id:
        run_id_or_raise(run_id)
    cluster = kube.connect(where)
    found = sorted(rows(cluster, run_id), key=lambda row: (row["created"], row["claim"]), reverse=True)
    data = {"total": len(found), "volumes": found[:limit], "cluster": cluster.identity()}
    return shell.Result(data, truncated=len(found) > limit)


@cli.command(
    "delete-volume",
    epilog=shell.examples(
        f"{SCRIPT} delete-volume tiny-lm-01234567 {RUN} --dry-run", f"{SCRIPT} delete-volume tiny-lm-01234567 {RUN} --yes"
    ),
)
@click.argument("claim")
@click.option("--run-id", required=True, metavar="HEX", help="The run that it must belong to.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, 3600),
    default=60.0,
    show_default=True,
    help="Seconds to wait until it is gone.",
)
@click.option("--dry-run", is_flag=True, help="Print what would go and what becomes of the data.")
@click.option("--yes", is_flag=True, help="Delete it.")
@kube.options
def delete_volume(where: kube.Where, claim: str, run_id: str, timeout_s: float, dry_run: bool, yes: bool) -> shell.Result:
    """Delete a claim that this run made. Refused while a pod uses it. The volume's reclaimPolicy decides whether the data is deleted too."""
    from checkpoint_volumes.ask import run_id_or_raise
    from checkpoint_volumes.listing import delete

    kube.name_or_raise("claim", claim)
    run_id_or_raise(run_id)
    return delete(kube.connect(where), claim, run_id, yes=yes, dry_run=dry_run, timeout_s=timeout_s)


if __name__ == "__main__":
    cli()
