# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "click>=8.1",
#   "packaging>=24.0",
#   "PyYAML>=6.0.2",
#   "isal>=1.7",  # optional: a fast ZIP
# ]
# ///
"""Build the image of a training project with the builder on this machine: docker buildx, docker, or buildctl."""

from __future__ import annotations

import trainyard_shell as shell

from typing import Any

import click
from trainyard_seconds import Seconds


@shell.program("image-builder")
def cli() -> None:
    """Build an image from a project folder here. What fails is read, repaired in the build's own copy where that is known, and tried again."""


@cli.command(
    epilog=shell.examples(
        "build_image.py build my-project",
        "build_image.py build . --dry-run",
        "build_image.py build my-project --push 123456789012.dkr.ecr.us-east-1.amazonaws.com/my-project",
        "build_image.py build a b c --image-tag v1 --quiet",
        "build_image.py build . --builder buildctl --archive my-project.tar",
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
@click.option("--secret", multiple=True, metavar="id=NAME,src=FILE", help="For RUN --mount=type=secret; in no layer.")
@click.option("--platform", metavar="OS/ARCH", help="Such as linux/amd64.  [default: the builder's]")
@click.option("--network", type=click.Choice(["default", "host", "none"]), default="default", help="Of RUN; docker only.")
@click.option("--no-cache", is_flag=True, help="Build every step anew.")
@click.option("--cache-from", multiple=True, metavar="SPEC", help="As BuildKit takes it: type=registry,ref=...")
@click.option("--cache-to", multiple=True, metavar="SPEC", help="As BuildKit takes it.")
@click.option("--push", metavar="REPOSITORY", help="Push there; you are signed in (`docker login`).")
@click.option("--archive", metavar="PATH", type=click.Path(dir_okay=False), help="Write a file that `docker load` reads.")
@click.option("--builder", type=click.Choice(["auto", "buildx", "docker", "buildctl"]), default="auto", show_default=True)
@click.option("--attempts", default=3, show_default=True, type=click.IntRange(1, 3), help="Maximum number of attempts.")
@click.option("--timeout", default=7200.0, show_default=True, type=Seconds(1, 1e6), help="Seconds for each attempt.")
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
@click.option("--quiet", is_flag=True, help="The log goes to its file only.")
@click.option("--dry-run", is_flag=True, help="Say what would be built, and how; build nothing.")
def build(folders: tuple[str, ...], **given: Any) -> shell.Result:
    """Build the image of each FOLDER; several are built at once.

    Exit 0: built. Exit 1: a step failed, data.attempts says why. Other codes: what could not begin, or what its cause is.
    """
    from builders import engines

    engine = engines.soon(given["builder"], has_output=bool(given["push"] or given["archive"]))
    from builders.building import build_all, options

    return build_all(folders, options(given), engine)


@cli.command(
    epilog=shell.examples(
        "build_image.py explain build.log",
        "build_image.py explain build.log --project my-project",
        "docker build . 2>&1 | tee build.log; build_image.py explain build.log",
        "build_image.py explain - < build.log",
    )
)
@click.argument("log")
@click.option("--project", metavar="FOLDER", help="The project that was built: its lines are named and its files looked at.")
@click.option("--dockerfile", metavar="PATH", help="Relative to FOLDER.  [default: Dockerfile]")
def explain(log: str, project: str | None, dockerfile: str | None) -> shell.Result:
    """Say why a build failed, from its LOG: a file, or - for stdin. Nothing is built.

    Docker, BuildKit, pip or CI may have written it. Exit 0: the cause is known. Exit 1: no line of it is (build.command).
    """
    from attempts.explaining import explained

    return explained(log, project, dockerfile)


if __name__ == "__main__":
    cli()
