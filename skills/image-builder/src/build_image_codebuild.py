# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "boto3>=1.35",
#   "botocore>=1.35",
#   "click>=8.1",
#   "packaging>=24.0",
#   "PyYAML>=6.0.2",
#   "isal>=1.7",  # optional: a fast ZIP
# ]
# ///
"""Build the image of a training project on AWS CodeBuild: no Docker on this machine. Follow, stop and list such builds."""

from __future__ import annotations

import trainyard_shell as shell

from typing import Any

import click
from trainyard_seconds import Seconds

PROJECT = "trainyard-image-builder"
REGION = click.option("--region", help="[default: AWS_REGION, or the profile's]")
TIMEOUT = click.option("--timeout", default=7200.0, show_default=True, type=Seconds(0, 1e6), help="Seconds to wait.")


@shell.program("image-builder")
def cli() -> None:
    """Build an image from a project folder on AWS CodeBuild, into a repository of ECR; no Docker is needed here.

    What fails is read, repaired in the build's own copy where that is known, and tried again. A build goes on when this program
    ends: the same call, or `wait`, finds it.
    """


@cli.command(
    epilog=shell.examples(
        "build_image_codebuild.py build my-project",
        "build_image_codebuild.py build . --dry-run",
        "build_image_codebuild.py build my-project --push team/net --image-tag v1 --compute-type XLARGE",
        "build_image_codebuild.py build a b c --no-wait",
    )
)
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option("--image-name", metavar="NAME", help="[default: the folder's name]")
@click.option(
    "--image-tag", default="auto", show_default=True, metavar="TAG", help="auto: build-, and 12 digits of the source's digest."
)
@click.option("--dockerfile", metavar="PATH", help="Relative to FOLDER.  [default: Dockerfile, else one is generated]")
@click.option("--target", metavar="STAGE", help="Build up to this stage.")
@click.option("--build-arg", multiple=True, metavar="K=V", help="For ARG; stays readable in the image, so not for secrets.")
@click.option(
    "--secret", multiple=True, metavar="id=NAME,secretsmanager=SECRET", help="For RUN --mount=type=secret; in no layer."
)
@click.option("--platform", metavar="OS/ARCH", help="linux/amd64 or linux/arm64.  [default: linux/amd64]")
@click.option("--no-cache", is_flag=True, help="Build every step anew.")
@click.option("--push", metavar="REPOSITORY", help="Its name in ECR.  [default: trainyard/ and the image's name]")
@click.option("--attempts", default=3, show_default=True, type=click.IntRange(1, 3), help="Maximum number of attempts.")
@click.option(
    "--timeout", default=7200.0, show_default=True, type=Seconds(300, 129600), help="Of each attempt; whole minutes count."
)
@click.option("--queue-timeout", default=1800.0, show_default=True, type=Seconds(0, 28800), help="Seconds in the queue.")
@click.option("--context-limit", default=2048, show_default=True, type=click.IntRange(1, 1 << 20), help="MB of the context.")
@click.option("--allow-secret-file", multiple=True, metavar="PATH", help="A file that looks like a secret but is not one.")
@click.option("--base", metavar="IMAGE", help="Of a generated Dockerfile.  [default: chosen from the table]")
@click.option("--instance-type", metavar="T", help="Where it will run, for the choice of the base image.")
@click.option(
    "--job-network", type=click.Choice(["auto", "efa", "tcp"]), default="auto", show_default=True, help="`network` of the job."
)
@click.option("--entry", metavar="FILE", help="What a generated image starts.  [default: found in the project]")
@click.option("--user", metavar="UID[:GID]", help="Of a generated image; 0 is root.  [default: 1000:1000]")
@click.option("--runtime-wheel", metavar="FILE", help="trainyard's wheel, or none.  [default: of this checkout]")
@click.option("--write", is_flag=True, help="Keep a generated Dockerfile in FOLDER.")
@click.option("--compute-type", metavar="TYPE", help="SMALL, MEDIUM, LARGE, XLARGE, 2XLARGE.  [default: by the image's size]")
@click.option("--project", default=PROJECT, show_default=True, help="CodeBuild project to use (never modified).")
@click.option("--bucket", metavar="NAME", help="For sources, used as it is.  [default: one is made for account and region]")
@REGION
@click.option("--no-wait", is_flag=True, help="Start, and return; `wait` gives the image.")
@click.option("--quiet", is_flag=True, help="The log goes to its file only.")
@click.option("--dry-run", is_flag=True, help="Say base image, compute type, minutes and cost; build nothing.")
def build(folders: tuple[str, ...], **given: Any) -> shell.Result:
    """Build the image of each FOLDER; several are built at once.

    Exit 0: built, or built before from this source. Exit 1: a step failed, data.attempts says why. Exit 7: it goes on.
    """
    from codebuild.building import build_all
    from codebuild.options import options

    return build_all(folders, options(given))


@cli.command(
    epilog=shell.examples(
        "build_image_codebuild.py status trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f",
        "build_image_codebuild.py status trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f --region us-west-2",
    )
)
@click.argument("build_id")
@REGION
def status(build_id: str, region: str | None) -> shell.Result:
    """Phase, phases so far, image. Exit 0 whatever the state is."""
    from codebuild.account import Account
    from codebuild.looking import status as look

    return look(Account(region), build_id)


@cli.command(
    epilog=shell.examples(
        "build_image_codebuild.py logs trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f --lines 50",
        "build_image_codebuild.py logs trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f --follow",
    )
)
@click.argument("build_id")
@click.option("--lines", default=200, show_default=True, type=click.IntRange(1, 100_000), help="At most so many, the last.")
@click.option("--follow", is_flag=True, help="Go on until the build ends, one JSON object a line.")
@TIMEOUT
@REGION
def logs(build_id: str, lines: int, follow: bool, timeout: float, region: str | None) -> shell.Result:
    """What the build printed."""
    from codebuild import looking
    from codebuild.account import Account

    if follow:
        return looking.stream(Account(region), build_id, timeout)
    return looking.logs(Account(region), build_id, lines)


@cli.command(
    epilog=shell.examples(
        "build_image_codebuild.py wait trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f",
        "build_image_codebuild.py wait trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f --timeout 600",
    )
)
@click.argument("build_id")
@TIMEOUT
@REGION
def wait(build_id: str, timeout: float, region: str | None) -> shell.Result:
    """Until the build has ended; its image, checked against the registry. Exit 1: it failed; 7: it goes on."""
    from codebuild import looking
    from codebuild.account import Account

    return looking.wait(Account(region), build_id, timeout)


@cli.command(
    epilog=shell.examples(
        "build_image_codebuild.py cancel trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f",
        "build_image_codebuild.py cancel trainyard-image-builder:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f --dry-run",
    )
)
@click.argument("build_id")
@REGION
@click.option("--dry-run", is_flag=True, help="Say what would be stopped; stop nothing.")
def cancel(build_id: str, region: str | None, dry_run: bool) -> shell.Result:
    """Stop a build that was started from here. One that has ended stays as it is; somebody else's is exit 5."""
    from codebuild import looking
    from codebuild.account import Account

    return looking.cancel(Account(region), build_id, dry_run=dry_run)


@cli.command(
    name="list",
    epilog=shell.examples("build_image_codebuild.py list", "build_image_codebuild.py list --limit 5 --region us-west-2"),
)
@click.option("--project", default=PROJECT, show_default=True, help="CodeBuild project.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100), help="Rows, the newest first.")
@REGION
def list_builds(project: str, limit: int, region: str | None) -> shell.Result:
    """The newest builds of the project."""
    from codebuild import looking
    from codebuild.account import Account

    return looking.listed(Account(region), project, limit)


if __name__ == "__main__":
    cli()
