# /// script
# requires-python = ">=3.11"
# dependencies = ["click>=8.1", "kubernetes>=35,!=36.0.0", "msgspec>=0.19", "PyYAML>=6.0.2", "urllib3>=2", "websocket-client>=1.8"]
# ///
"""Ray on Kubernetes through KubeRay: make a RayCluster or a RayJob, run things on it, watch it, remove it."""

from __future__ import annotations

import trainyard_shell as shell

from collections.abc import Callable
from typing import Any

import click
import ray_create
import ray_gpus
import ray_logs
import ray_remove
import ray_status
import ray_submit
import ray_wait
import trainyard_kube as kube
from ray_head import stream
from ray_objects import alive_or_raise, find, head_of, same_again
from ray_spec import KINDS, OWN, spec_of
from trainyard_podjob import run_id_or_raise
from trainyard_podjob_options import create_options

KIND = click.option("--kind", type=click.Choice(list(KINDS)), help="Spares the question which of the two it is.")
RUN_ID = click.option("--run-id", metavar="HEX", help="Refuse (exit 5) what is not this run's.")
SUBMISSION = click.option(
    "--submission-id",
    metavar="ID",
    help="raycluster: that job on it and no other.  [default: the run's own once it was submitted, else the newest other one]",
)
COMMAND = click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)


def of_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """NAME, the options that say which object of that name is meant, and those of the cluster."""
    return click.argument("name")(KIND(RUN_ID(kube.options(function))))


def timeout(seconds: float, what: str = "Seconds.") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option("--timeout", default=seconds, show_default=True, type=click.FloatRange(1, 10_000_000), help=what)


@shell.program("ray-manager")
def cli() -> None:
    """RayClusters and RayJobs: create, run on them, watch, remove. KubeRay must be installed in the cluster."""


@cli.command(
    epilog=shell.examples(
        "manage_ray.py create tiny --kind rayjob --run-id 0123456789abcdef --image repo/train:2.60.0 --nodes 2 --gpus 8 --procs 8 "
        "--claim tiny-01234567 -- torchrun train.py",
        "manage_ray.py create grpo --kind raycluster --run-id 0123456789abcdef --image repo/verl:1 --ray-version 2.49.1 --nodes 4 --gpus 8",
    )
)
@click.argument("name", required=False)
@create_options(OWN)
@click.option("--dry-run", is_flag=True, help="Print the manifest, let the API server judge it, keep nothing.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@kube.options
def create(where: kube.Where, name: str | None, command: tuple[str, ...], dry_run: bool, **given: Any) -> shell.Result:
    """Make a RayJob or RayCluster and return at once. The same call again is the same object.

    NAME and COMMAND may come from --request. COMMAND follows `--`, for a RayJob only. `torchrun` stands for one process group over all Ray nodes; anything else is
    the driver as it is.
    """
    spec, checks = spec_of(name, command, given)
    cluster = kube.connect(where)
    if dry_run:
        data, more = ray_create.dry_run(cluster, spec)
        return shell.Result(data, checks + more)
    data, changed = ray_create.create(cluster, spec)
    return shell.Result(data, checks, changed, [f"manage_ray.py {verb} {same_again(data)}" for verb in ("status", "wait")])


@cli.command(
    epilog=shell.examples(
        "manage_ray.py status tiny --kind rayjob --namespace ml",
        "manage_ray.py status grpo --run-id 0123456789abcdef --submission-id grpo-01234567",
    )
)
@of_one
@SUBMISSION
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 5000), help="Pods to print.")
def status(where: kube.Where, name: str, limit: int, **which: Any) -> shell.Result:
    """State, nodes, pods and findings. Exit 0 whenever it could be answered."""
    return ray_status.get_ray_status(kube.connect(where), name, limit=limit, **which)


@cli.command(
    epilog=shell.examples(
        "manage_ray.py submit grpo --run-id 0123456789abcdef -- torchrun train.py",
        "manage_ray.py submit grpo --run-id 0123456789abcdef --submission-id eval-1 -- python eval.py",
    )
)
@click.argument("name")
@click.option("--submission-id", metavar="ID", help="The same id again is the same job.  [default: NAME-<run id's first 8>]")
@click.option("--run-id", metavar="HEX", help="Whose the cluster is; needed unless it belongs to no run.")
@click.option("--dry-run", is_flag=True, help="Say what would run on the head.")
@COMMAND
@kube.options
def submit(
    where: kube.Where, name: str, submission_id: str | None, run_id: str | None, dry_run: bool, command: tuple[str, ...]
) -> shell.Result:
    """Submit a job to a RayCluster and return; it outlives this call. Its driver gets no GPU; its tasks and actors do."""
    cluster = kube.connect(where)
    kind, thing = find(cluster, name, "raycluster", run_id)
    ray_submit.run_named_or_raise(thing, run_id)
    alive_or_raise(thing)
    job_id = ray_submit.id_to_submit(thing, submission_id)
    if dry_run:
        words = ray_submit.words_on_head(cluster, kind, thing, list(command))
        return shell.Result({"submission_id": job_id, "command": words, "cluster": cluster.identity()})
    job, made = ray_submit.submit(cluster, thing, list(command), job_id)
    state, reason = ray_submit.submission_state(thing, job_id, job)
    data = {"name": name, "run_id": run_id, "submission_id": job_id, "state": state, "reason": reason, "job": job}
    again = same_again(data, None if job_id == ray_submit.own_id(thing) else job_id)
    return shell.Result(
        {**data, "cluster": cluster.identity()},
        changed=[f"job {job_id} submitted to {name}"] if made else [],
        next=[f"manage_ray.py {verb} {again}" for verb in ("wait", "logs")],
    )


@cli.command(
    name="exec",
    epilog=shell.examples(
        "manage_ray.py exec grpo -- ray status", "manage_ray.py exec grpo --timeout 86400 -- python main_ppo.py"
    ),
)
@of_one
@timeout(3600.0, "Seconds; the command may go on after that.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and on which pod.")
@COMMAND
def exec_verb(
    where: kube.Where, name: str, timeout: float, dry_run: bool, command: tuple[str, ...], **which: str | None
) -> shell.Result:
    """Run a command on the head and wait for it: for a driver that needs the head's GPUs itself.

    Its output comes as a stream of lines. Exit 1 where the command failed; data.exit_code has its code.
    """
    cluster = kube.connect(where)
    kind, thing = find(cluster, name, **which)
    alive_or_raise(thing)
    head, words = head_of(cluster, kind, thing), ray_submit.words_on_head(cluster, kind, thing, list(command))
    data: dict[str, Any] = {
        "name": name,
        "pod": head.pod,
        "container": head.container,
        "command": words,
        "cluster": cluster.identity(),
    }
    if dry_run:
        return shell.Result(data)
    code, lines = stream(cluster, head, words, timeout)
    summary = f"{shell.clean(words[0], 80)} exited with {code}"
    fix = None if code == 0 else "its output above says why; 127: no such program in the image"
    check = shell.Check("command.succeeded", "pass" if code == 0 else "fail", summary, None, fix)
    return shell.Result(
        {**data, "exit_code": code, "lines": lines}, [check], changed=[f"{shell.clean(words[0], 80)} ran on {head.pod}"]
    )


@cli.command(epilog=shell.examples("manage_ray.py logs tiny --lines 20", "manage_ray.py logs tiny --follow --timeout 86400"))
@of_one
@SUBMISSION
@click.option("--lines", default=100, show_default=True, type=click.IntRange(1, 10_000), help="At most so many, the last.")
@click.option("--follow", is_flag=True, help="Go on until the job ends, one JSON object a line.")
@click.option("--rank", type=click.IntRange(0), help="The container of this Ray node (0: the head), not the driver.")
@click.option("--previous", is_flag=True, help="With --rank: the container before its last restart.")
@timeout(86400.0, "Seconds to follow.")
def logs(where: kube.Where, name: str, lines: int, follow: bool, previous: bool, timeout: float, **which: Any) -> shell.Result:
    """What the job's driver printed, its actors' lines among it; with --rank one Ray node's own log."""
    cluster = kube.connect(where)
    if follow:
        state, count = ray_logs.follow(cluster, name, lines, timeout, **which)
        return shell.Result({"name": name, "state": state, "lines": count})
    rank, submission_id = which.pop("rank"), which.pop("submission_id")
    kind, thing = find(cluster, name, **which)
    source = ray_logs.source_of(cluster, name, kind, thing, rank, submission_id)
    last = ray_logs.last_lines(cluster, thing, source, lines, previous)
    data = {"name": name, "pod": source.pod, "lines": last.shown, "times": last.times}
    return shell.Result(data, truncated=last.more)


@cli.command(epilog=shell.examples("manage_ray.py wait tiny --timeout 600", "manage_ray.py wait grpo --ready --timeout 900"))
@of_one
@SUBMISSION
@click.option("--ready", is_flag=True, help="raycluster: until all its nodes are ready, whatever job runs on it.")
@timeout(3600.0)
def wait(where: kube.Where, name: str, ready: bool, timeout: float, **which: str | None) -> shell.Result:
    """Until the job has ended: exit 0 finished, 1 failed, 7 still going. A RayCluster without a job: until it is ready."""
    return ray_wait.wait(kube.connect(where), name, timeout, ready=ready, **which)


@cli.command(
    epilog=shell.examples("manage_ray.py verify-gpus grpo", "manage_ray.py verify-gpus tiny --kind rayjob --timeout 120")
)
@of_one
@timeout(60.0, "Seconds for the nodes to answer.")
def verify_gpus(where: kube.Where, name: str, timeout: float, **which: str | None) -> shell.Result:
    """Count nodes and accelerators from inside Ray, and look at the devices on every node, against the request."""
    cluster = kube.connect(where)
    kind, thing = find(cluster, name, **which)
    alive_or_raise(thing)
    return ray_gpus.verify_gpu_utilization(cluster, kind, thing, timeout)


@cli.command(
    epilog=shell.examples(
        "manage_ray.py delete tiny --run-id 0123456789abcdef --dry-run",
        "manage_ray.py delete tiny --run-id 0123456789abcdef --yes",
    )
)
@click.argument("name")
@click.option("--run-id", required=True, metavar="HEX", help="Nothing of another run is touched.")
@KIND
@click.option("--yes", is_flag=True, help="Do it.")
@click.option("--dry-run", is_flag=True, help="Say what would go.")
@timeout(300.0, "Seconds to wait for the pods to be gone.")
@kube.options
def delete(
    where: kube.Where, name: str, run_id: str, kind: str | None, yes: bool, dry_run: bool, timeout: float
) -> shell.Result:
    """Remove the RayJob or RayCluster and wait until its pods are gone. The volume claim stays."""
    run_id_or_raise(run_id)
    cluster = kube.connect(where)
    planned = ray_remove.plan(cluster, name, kind, run_id)
    if dry_run:
        return shell.Result(planned)
    shell.confirm(yes, planned, what=f"delete {name} and its {len(planned['pods'])} pods")
    changed, checks = ray_remove.delete(cluster, planned, timeout)
    return shell.Result(planned, checks, changed)


@cli.command(name="list", epilog=shell.examples("manage_ray.py list", "manage_ray.py list --all --namespace ml --limit 10"))
@click.option("--all", "all_owners", is_flag=True, help="Also what trainyard did not make.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="Rows, the newest first.")
@kube.options
def list_verb(where: kube.Where, all_owners: bool, limit: int) -> shell.Result:
    """RayJobs and RayClusters of the namespace, with their states."""
    return ray_remove.list_all(kube.connect(where), all_owners=all_owners, limit=limit)


if __name__ == "__main__":
    cli()
