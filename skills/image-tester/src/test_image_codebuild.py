# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "boto3>=1.35",
#   "botocore>=1.35",
#   "click>=8.1",
#   "msgspec>=0.19",
#   "packaging>=24.0",
#   "PyYAML>=6.0.2",
# ]
# ///
"""Test an image of Amazon ECR on AWS CodeBuild before a job runs in it: no Docker on this machine."""

from __future__ import annotations

import trainyard_shell as shell

from typing import Any

import click
from trainyard_seconds import Seconds

REGION = click.option("--region", help="[default: AWS_REGION, or the profile's]")


@shell.program("image-tester")
def cli() -> None:
    """Test an image of ECR in one unprivileged container on a host of CodeBuild; the same probes as test_image.py."""


@cli.command(
    epilog=shell.examples(
        "test_image_codebuild.py run trainyard/my-project:build-0123456789ab --project . --entry train.py",
        "test_image_codebuild.py run trainyard/my-project:v1 --level full --request job.yaml --instance-type p5.48xlarge",
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
@click.option(
    "--timeout", "timeout_s", metavar="S", type=Seconds(1, 86400), help="Seconds for the probes.  [default: all probes']"
)
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
@click.option(
    "--compute-type",
    type=click.Choice(["MEDIUM", "LARGE", "XLARGE", "2XLARGE"]),
    default="LARGE",
    show_default=True,
    help="Size of the host.",
)
@click.option(
    "--codebuild-project",
    default="trainyard-image-builder",
    show_default=True,
    help="CodeBuild project to use (never modified).",
)
@click.option("--queue-timeout", default=1800.0, show_default=True, type=Seconds(0, 28800), help="Seconds in the queue.")
@REGION
def run(
    image: str,
    memory: str,
    pids: int,
    timeout_s: float | None,
    network: bool,
    compute_type: str,
    codebuild_project: str,
    queue_timeout: float,
    region: str | None,
    **asked: Any,
) -> shell.Result:
    """Test IMAGE: NAME:TAG or NAME@sha256:... of a repository in ECR, with or without its host.

    Exit 0: all that a host without GPU can show; `data.unproven` names the rest. Exit 1: a check failed.
    """
    import tester_options
    from codebuild_test.testing import test
    from tester_inspect import checked
    from tester_local import Room
    from trainyard_codebuild import check_project

    checked(image)
    room = Room(
        memory_bytes=tester_options.size("--memory", memory, least_bytes=64 << 20),
        pids=pids,
        timeout_s=timeout_s,
        network=network,
        gpus=None,
    )
    return test(
        image,
        tester_options.asked_of(**asked),
        room,
        region=region,
        project=check_project(codebuild_project),
        compute_type=compute_type,
        queue_s=queue_timeout,
    )


@cli.command(
    epilog=shell.examples(
        "test_image_codebuild.py status trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f",
        "test_image_codebuild.py status trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f --region us-west-2",
    )
)
@click.argument("build_id")
@REGION
def status(build_id: str, region: str | None) -> shell.Result:
    """Where a test is. Exit 0 whatever its state."""
    from codebuild_test.testing import status as look

    return look(build_id, region)


@cli.command(
    epilog=shell.examples(
        "test_image_codebuild.py logs trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f",
        "test_image_codebuild.py logs trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f --lines 20",
    )
)
@click.argument("build_id")
@click.option("--lines", default=200, show_default=True, type=click.IntRange(1, 100_000), help="At most so many, the last.")
@REGION
def logs(build_id: str, lines: int, region: str | None) -> shell.Result:
    """What the test's host printed."""
    from codebuild_test.log_lines import logs as read

    return read(build_id, region, lines)


if __name__ == "__main__":
    cli()
