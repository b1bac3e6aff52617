# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "msgspec>=0.19",
#   "packaging>=24.0",
#   "PyYAML>=6.0.2",
# ]
# ///
"""Test a container image with the local Docker before a job runs in it."""

from __future__ import annotations

import trainyard_shell as shell

from typing import Any

import click
from trainyard_seconds import Seconds


@shell.program("image-tester")
def cli() -> None:
    """Test a training image in one unprivileged container of the local Docker, which is gone afterwards."""


@cli.command(
    epilog=shell.examples(
        "test_image.py run my-project:v1 --level quick --project . --entry train.py",
        "test_image.py run my-project:v1 --level full --request job.yaml --project . --instance-type p5.48xlarge",
    )
)
@click.argument("image")
@click.option(
    "--level",
    type=click.Choice(["quick", "standard", "full"]),
    default="standard",
    show_default=True,
    help="How much is tried.",
)
@click.option("--request", metavar="FILE", help="Job file or request, - is stdin: its run, env, resources and network.")
@click.option("--project", metavar="DIR", help="Its requirements.txt or pyproject.toml says what must import.")
@click.option("--package", "packages", metavar="NAME", multiple=True, help="One more package or module that must import.")
@click.option("--instance-type", metavar="T", help="Where it will run: p5.48xlarge, ml.g5.8xlarge, or a GPU (H100).")
@click.option("--driver", metavar="V", help="NVIDIA driver of the nodes, as nvidia-smi prints it.")
@click.option("--entry", metavar="PATH", help="Script that the job starts with, in the image.  [default: the request's]")
@click.option("--model", metavar="PATH", help="Folder or config.json of a model in the image.")
@click.option("--trainyard", "runtime", metavar="V", help="Version of the runtime wanted.  [default: this collection's]")
@click.option("--memory", default="4Gi", show_default=True, help="Memory of the container; half of it is /tmp.")
@click.option("--shm", metavar="SIZE", help="/dev/shm.  [default: the request's, else 64Mi]")
@click.option("--pids", default=512, show_default=True, type=click.IntRange(16, 65536), help="Processes and threads.")
@click.option("--timeout", "timeout_s", metavar="S", type=Seconds(1, 86400), help="Seconds for all.  [default: all probes']")
@click.option("--probe-timeout", "probe_s", metavar="S", type=Seconds(1, 86400), help="At most so many seconds for each probe.")
@click.option(
    "--step-timeout",
    "step_s",
    metavar="S",
    default=180.0,
    show_default=True,
    type=Seconds(1, 86400),
    help="Seconds to the job's first step.",
)
@click.option("--network", is_flag=True, help="With the network; without it by default.")
@click.option("--dry-run", is_flag=True, help="Print the container and the probes; start nothing.")
@click.option("--gpus", metavar="N", help="GPUs of this machine for the container: all, or a number.")
def run(
    image: str, memory: str, pids: int, timeout_s: float | None, network: bool, gpus: str | None, dry_run: bool, **asked: Any
) -> shell.Result:
    """Test IMAGE.

    Exit 0: all that this machine can show; `data.unproven` names the rest (a GPU's work, without one). Exit 1: a check failed.
    """
    import tester_options
    from tester_inspect import checked
    from tester_local import Room, test, would

    checked(image)
    room = Room(
        memory_bytes=tester_options.size("--memory", memory, least_bytes=64 << 20),
        pids=pids,
        timeout_s=timeout_s,
        network=network,
        gpus=tester_options.gpus_of(gpus),
    )
    return (would if dry_run else test)(image, tester_options.asked_of(**asked), room)


@cli.command(epilog=shell.examples("test_image.py clean", "test_image.py clean --yes"))
@click.option("--yes", is_flag=True, help="Remove them.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
def clean(yes: bool, dry_run: bool) -> shell.Result:
    """Remove the containers of tests whose caller has ended.

    Others are listed and left: tests that run, and containers of another machine.
    """
    from tester_clean import clean

    return clean(yes=yes, dry_run=dry_run)


if __name__ == "__main__":
    cli()
