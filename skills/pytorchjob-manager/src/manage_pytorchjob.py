# /// script
# requires-python = ">=3.11"
# dependencies = ["click>=8.1", "kubernetes>=35,!=36.0.0", "msgspec>=0.19", "PyYAML>=6.0.2", "urllib3>=2"]
# ///
"""PyTorch jobs on Kubernetes: PyTorchJob, TrainJob, HyperPodPyTorchJob."""

from __future__ import annotations

import trainyard_shell as shell

import signal
from collections.abc import Callable
from typing import Any

import click
import ptjob_change
import ptjob_create
import ptjob_follow
import ptjob_logs
import ptjob_status
import ptjob_wait
import trainyard_kube as kube
from ptjob_find import call_for, find_job, find_with_pods
from ptjob_request import ENGINES, OWN, RunId, request_of
from trainyard_podjob_options import create_options
from trainyard_seconds import Seconds

ONE_RUN = click.option("--run-id", metavar="HEX", help="Refuse (exit 5) a job of another run.")
THE_RUN = click.option(
    "--run-id", metavar="HEX", required=True, type=RunId(), help="Of the run; any other job of that name is refused (exit 5)."
)
ENGINE = click.option("--engine", type=click.Choice(ENGINES), help="Look at this kind alone.  [default: at all of them]")


def looks_at_a_job(function: Callable[..., Any]) -> Callable[..., Any]:
    """NAME, --run-id, --engine and the options of the cluster."""
    return click.argument("name")(ONE_RUN(ENGINE(kube.options(function))))


def changes_a_job(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same, and whose job it is must be said: nobody else's is changed."""
    return click.argument("name")(THE_RUN(ENGINE(kube.options(function))))


@shell.program("pytorchjob-manager")
def cli() -> None:
    """Training jobs of one or many nodes on Kubernetes: create, watch, resize, suspend, delete."""


@cli.command(
    epilog=shell.examples(
        "manage_pytorchjob.py create tiny-lm --run-id 5f0c6a1b2c3d4e5f --image repo@sha256:... --nodes 2 --procs 8 --gpus 8 "
        "--claim tiny-lm-5f0c6a1b -- torchrun train.py --steps 400",
        "manage_pytorchjob.py create hello --run-id 5f0c6a1b2c3d4e5f --image python:3.12 --dry-run -- python -c 'print(42)'",
    )
)
@click.argument("name", required=False)
@create_options(OWN)
@kube.options
@click.option("--dry-run", is_flag=True, help="Print the manifest, have the API server check it, make nothing.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def create(where: kube.Where, name: str | None, command: tuple[str, ...], dry_run: bool, **values: Any) -> shell.Result:
    """Make the job and return at once. The same call again changes nothing.

    NAME and COMMAND may come from --request. COMMAND follows `--`. Its first word `torchrun` stands for the engine's launcher; anything else is one process.
    """
    request = request_of(name, command, values)
    return ptjob_create.create_pytorchjob(kube.connect(where), request, dry_run=dry_run)


@cli.command(
    epilog=shell.examples("manage_pytorchjob.py status tiny-lm -n ml", "manage_pytorchjob.py status tiny-lm --format table")
)
@looks_at_a_job
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1, 5000), help="Rows of pods, at most.")
def status(where: kube.Where, limit: int, **which: Any) -> shell.Result:
    """State, nodes, restarts, and what is wrong. Exit 0 whatever the state is."""
    data = ptjob_status.get_job_status(kube.connect(where), **which, limit=limit)
    next = [call_for("logs", data["name"], data["run_id"])] if data["state"] in ("failed", "restarting") else []
    return shell.Result(data, next=next, truncated=data["pods_total"] > limit)


@cli.command(
    epilog=shell.examples("manage_pytorchjob.py logs tiny-lm --lines 20", "manage_pytorchjob.py logs tiny-lm --follow --rank 0")
)
@looks_at_a_job
@click.option("--lines", default=100, show_default=True, type=click.IntRange(1, 5000), help="The last, of all pods together.")
@click.option("--follow", is_flag=True, help="Go on until the job ends, one JSON object a line.")
@click.option("--rank", type=click.IntRange(0), help="Only the pod of this node.")
@click.option("--previous", is_flag=True, help="Of the containers before their last restart.")
@click.option("--timeout", default=86400.0, show_default=True, type=Seconds(0, 1e9), help="Seconds to follow.")
def logs(
    where: kube.Where, lines: int, follow: bool, rank: int | None, previous: bool, timeout: float, **which: Any
) -> shell.Result:
    """What the pods printed, each line with the rank of its node."""
    if follow and previous:
        raise shell.SkillError("usage", "--previous has ended: there is nothing to follow", hint="leave one of the two out")
    cluster = kube.connect(where)
    job = find_with_pods(cluster, **which)
    if not follow:
        return shell.Result(ptjob_logs.stream_logs(cluster, job, lines, rank, previous=previous))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `logs --follow | head` ends quietly
    return shell.Result(ptjob_follow.follow_logs(cluster, job, lines, rank, timeout))


@cli.command(
    epilog=shell.examples("manage_pytorchjob.py wait tiny-lm --timeout 3600", "manage_pytorchjob.py wait tiny-lm -n ml --json")
)
@looks_at_a_job
@click.option("--timeout", default=600.0, show_default=True, type=Seconds(0, 1e9), help="Seconds.")
def wait(where: kube.Where, timeout: float, **which: Any) -> shell.Result:
    """Wait for the end: exit 0 finished, 1 failed, 7 still going."""
    return ptjob_wait.wait_for_end(kube.connect(where), timeout, **which)


@cli.command(
    epilog=shell.examples(
        "manage_pytorchjob.py scale tiny-lm --run-id 5f0c6a1b2c3d4e5f --nodes 4",
        "manage_pytorchjob.py scale tiny-lm --run-id 5f0c6a1b2c3d4e5f --nodes 4 --dry-run",
    )
)
@changes_a_job
@click.option("--nodes", required=True, type=click.IntRange(1), help="Number of nodes from now on.")
@click.option("--timeout", default=300.0, show_default=True, type=Seconds(0, 1e9), help="For the pods to save and end.")
@click.option("--dry-run", is_flag=True, help="Print the patch, have the API server check it, change nothing.")
def scale(where: kube.Where, nodes: int, timeout: float, dry_run: bool, **which: Any) -> shell.Result:
    """Change the number of nodes. A job of fixed size stops and resumes from its newest checkpoint; an elastic one goes on.

    Without a volume claim a job of fixed size begins again at step 0.
    """
    cluster = kube.connect(where)
    return ptjob_change.scale(cluster, find_job(cluster, **which), nodes, timeout, dry_run=dry_run)


@cli.command(
    epilog=shell.examples(
        "manage_pytorchjob.py suspend tiny-lm --run-id 5f0c6a1b2c3d4e5f",
        "manage_pytorchjob.py suspend tiny-lm --run-id 5f0c6a1b2c3d4e5f --dry-run",
    )
)
@changes_a_job
@click.option("--dry-run", is_flag=True, help="Have the API server check the patch, change nothing.")
def suspend(where: kube.Where, dry_run: bool, **which: Any) -> shell.Result:
    """Stop the pods, which save first, and keep the job: its nodes are free for others."""
    cluster = kube.connect(where)
    return ptjob_change.suspend(cluster, find_job(cluster, **which), True, dry_run=dry_run)


@cli.command(
    epilog=shell.examples(
        "manage_pytorchjob.py resume tiny-lm --run-id 5f0c6a1b2c3d4e5f",
        "manage_pytorchjob.py resume tiny-lm --run-id 5f0c6a1b2c3d4e5f --dry-run",
    )
)
@changes_a_job
@click.option("--dry-run", is_flag=True, help="Have the API server check the patch, change nothing.")
def resume(where: kube.Where, dry_run: bool, **which: Any) -> shell.Result:
    """Let a suspended job go on, from its newest checkpoint; without a volume claim from step 0."""
    cluster = kube.connect(where)
    return ptjob_change.suspend(cluster, find_job(cluster, **which), False, dry_run=dry_run)


@cli.command(
    epilog=shell.examples(
        "manage_pytorchjob.py delete tiny-lm --run-id 5f0c6a1b2c3d4e5f",
        "manage_pytorchjob.py delete tiny-lm --run-id 5f0c6a1b2c3d4e5f --yes",
    )
)
@changes_a_job
@click.option("--timeout", default=300.0, show_default=True, type=Seconds(0, 1e9), help="For the pods to save and end.")
@click.option("--dry-run", is_flag=True, help="Say what would go, delete nothing.")
@click.option("--yes", is_flag=True, help="Do it.")
def delete(where: kube.Where, timeout: float, dry_run: bool, yes: bool, **which: Any) -> shell.Result:
    """Delete the job and wait until its pods are gone. The volume claim, and the checkpoints on it, stay."""
    return ptjob_change.delete(kube.connect(where), timeout, yes=yes, dry_run=dry_run, **which)


@cli.command("list", epilog=shell.examples("manage_pytorchjob.py list", "manage_pytorchjob.py list -n ml --limit 20"))
@kube.options
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 5000), help="Rows, at most.")
def list_verb(where: kube.Where, limit: int) -> shell.Result:
    """The jobs of Trainyard in this namespace."""
    return ptjob_status.list_jobs(kube.connect(where), limit)


if __name__ == "__main__":
    cli()
