# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "boto3>=1.35",
#   "botocore>=1.35",
#   "click>=8.1",
#   "isal>=1.7",
#   "requests>=2.32",
# ]
# ///
"""Push an image to Amazon ECR by digest, into one region or several; make repositories, list, verify and promote tags."""

from __future__ import annotations

import trainyard_shell as shell

from typing import Any

import click
from trainyard_seconds import Seconds

REGION = click.option(
    "--region", "regions", multiple=True, metavar="NAME", help="May be repeated.  [default: AWS_REGION, or the profile's]"
)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Say what would be done; change nothing.")
TIMEOUT = click.option(
    "--timeout", default=7200.0, show_default=True, type=Seconds(1, 1e6), metavar="SECONDS", help="For all of it."
)


@shell.program("ecr-pusher")
def cli() -> None:
    """Push an image to Amazon ECR, by digest: one region or several, each verified. No Docker is needed for an archive.

    A push that broke goes on with the same call: layers that are there are not sent again.
    """


@cli.command(
    epilog=shell.examples(
        "push_image.py push my-project:dev --repository my-project",
        "push_image.py push oci:image.tar --repository team/net --region us-east-1 --region us-west-2 --create",
        "push_image.py push my-project:dev --repository my-project --tag-strategy semver --bump minor",
        "push_image.py push my-project:dev --repository my-project --tag 1.4.0 --via api",
        "push_image.py push ecr:team/net:1.4.0 --from-region us-east-1 --repository team/net --region us-west-2 --tag 1.4.0 --create",
    )
)
@click.argument("image")
@click.option("--repository", required=True, metavar="NAME", help="Without the registry's host: team/net.")
@REGION
@click.option(
    "--from-region", metavar="NAME", help="That has ecr:NAME:TAG or ecr:NAME@DIGEST.  [default: AWS_REGION, or the profile's]"
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be repeated; then no strategy unless one is named.")
@click.option(
    "--tag-strategy",
    "strategy",
    type=click.Choice(["auto", "semver", "git-sha", "latest"]),
    help="auto: git tag at HEAD, else BRANCH-SHA; semver: the next version; latest: with another beside it.  [default: auto]",
)
@click.option("--bump", type=click.Choice(["patch", "minor", "major"]), default="patch", show_default=True, help="For semver.")
@click.option("--project", default=".", show_default=True, metavar="FOLDER", help="Folder whose git names the tag.")
@click.option("--create", is_flag=True, help="Make the repository where it is missing, as ensure-repo does.")
@click.option(
    "--via",
    type=click.Choice(["registry", "api"]),
    default="registry",
    show_default=True,
    help="api: a broken layer goes on in its middle.",
)
@click.option("--jobs", default=4, show_default=True, type=click.IntRange(1, 16), help="Layers at a time.")
@click.option("--tries", default=6, show_default=True, type=click.IntRange(1, 100), help="Of a layer that breaks.")
@TIMEOUT
@DRY_RUN
def push(
    tags: tuple[str, ...], strategy: str | None, bump: str, project: str, tries: int, timeout: float, **given: Any
) -> shell.Result:
    """Push IMAGE and verify its digest in each region. `data.reference` is what a job file's `image.uri` takes.

    IMAGE is the name of an image of the local Docker, oci:PATH (an OCI layout, as a folder or a tar), docker-archive:PATH (of
    `docker save`) or ecr:REFERENCE (an image in ECR: NAME:TAG or NAME@DIGEST, with the registry's host or without). PATH@DIGEST or
    PATH@NAME:TAG chooses one of several.

    Exit 1: a region failed and another has it. Exit 5: the tag is taken by another image.
    """
    from push_patience import Patience
    from push_tags import Wish
    from push_verb import push as do

    patience = Patience(timeout, tries)
    with patience.bound():
        return do(wish=Wish(tags, strategy, bump, project), patience=patience, **given)


@cli.command(
    name="ensure-repo",
    epilog=shell.examples(
        "push_image.py ensure-repo my-project", "push_image.py ensure-repo team/net --region us-west-2 --dry-run"
    ),
)
@click.argument("repository")
@REGION
@DRY_RUN
def ensure_repo(**given: Any) -> shell.Result:
    """Make the repository where it is missing: immutable tags, scan on push, rules that expire build and cache tags only.

    One that exists is never changed; where it differs the checks say so.
    """
    from ecr_verbs import ensure_repo as do

    return do(**given)


@cli.command(
    epilog=shell.examples(
        "push_image.py tags my-project", "push_image.py tags team/net --region us-east-1 --region us-west-2 --limit 5"
    ),
)
@click.argument("repository")
@REGION
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 1000), help="Images of each region, the newest first."
)
def tags(**given: Any) -> shell.Result:
    """The images of a repository: digest, tags and which of them cannot move, compressed size, date of the push."""
    from ecr_verbs import tags as do

    return do(**given)


@cli.command(
    epilog=shell.examples(
        "push_image.py verify my-project:1.4.0 --digest sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "push_image.py verify my-project:1.4.0 --region us-east-1 --region us-west-2 --platform linux/amd64",
    )
)
@click.argument("reference")
@REGION
@click.option("--digest", metavar="SHA256", help="The digest that it must have.")
@click.option("--platform", metavar="OS/ARCH", help="The platform that it must have.")
@TIMEOUT
def verify(timeout: float, **given: Any) -> shell.Result:
    """Is REFERENCE (NAME:TAG, NAME@DIGEST, or either with the registry's host) whole in the registry: manifest, config, every layer?

    Exit 1: no, or it differs between the regions.
    """
    from ecr_verbs import verify as do
    from push_patience import Patience

    patience = Patience(timeout)
    with patience.bound():
        return do(patience=patience, **given)


@cli.command(
    epilog=shell.examples(
        "push_image.py promote my-project --from build-3f2a91c0 --tag 1.4.0",
        "push_image.py promote my-project --from build-3f2a91c0 --tag-strategy auto --project . --dry-run",
    )
)
@click.argument("repository")
@click.option("--from", "source", required=True, metavar="TAG|DIGEST|TAG@DIGEST", help="The image as it is now.")
@REGION
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="May be repeated.")
@click.option("--tag-strategy", "strategy", type=click.Choice(["auto", "semver", "git-sha", "latest"]), help="As for push.")
@click.option("--bump", type=click.Choice(["patch", "minor", "major"]), default="patch", show_default=True, help="For semver.")
@click.option("--project", default=".", show_default=True, metavar="FOLDER", help="Folder whose git names the tag.")
@click.option("--keep", is_flag=True, help="Keep the tag build-... that it came from.")
@DRY_RUN
def promote(tags: tuple[str, ...], strategy: str | None, bump: str, project: str, **given: Any) -> shell.Result:
    """Give an image of the registry another tag, without a pull. A build tag goes once the new tag is verified.

    With TAG@DIGEST it is the image of the digest, and TAG goes where it is that image's still.
    """
    from ecr_verbs import promote as do
    from push_tags import Wish

    return do(wish=Wish(tags, strategy, bump, project), **given)


if __name__ == "__main__":
    cli()
