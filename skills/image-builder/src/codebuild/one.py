"""One image through CodeBuild: what is there already, the source to the bucket, the build to its end, the digest back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trainyard_codebuild as codebuilds
import trainyard_shell as shell
from build_context.archive import Stream
from codebuild import bucket, outcome, repository, upload
from codebuild.account import Account
from codebuild.ask import Ask, request
from codebuild.compute import Machine
from codebuild.looking import PROGRAM, follow
from codebuild.repository import Repository
from codebuild.upload import Source
from trainyard_codebuild import Build


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where it is built and pushed to."""

    account: Account
    project: str
    bucket: str | None
    """None: the one that Trainyard makes."""
    repository: Repository
    queue_s: float = 600.0
    wait_s: float = 7200.0


def already(place: Place, ask: Ask, *, any_tag: bool = False) -> Build | None:
    """The build that has pushed this very source, whose image the registry still has under this tag.

    `any_tag`: or under another one, or none, where nothing has this tag: a promoted image has lost it.
    Raises SkillError conflict: the tag holds another image, and cannot be given to a second one.
    """
    builds = codebuilds.newest(place.account.builds, place.project)  # first: without the project nothing is made or sent
    there = repository.by_tag(place.account, place.repository.name, ask.tag)
    for digest, build in _of_this_source(builds, place, ask).items():
        if there["imageDigest"] == digest if there else any_tag and _is_there(place, digest):
            return build
    if there is not None and place.repository.keeps(ask.tag):
        message = f"{place.repository.name}:{ask.tag} is taken by {there['imageDigest']}, and its tags are immutable"
        raise shell.SkillError(
            "conflict", message, hint="--image-tag with another one, or without (a tag by the source's digest)"
        )
    return None


def _of_this_source(builds: list[Build], place: Place, ask: Ask) -> dict[str, Build]:
    """By the digest of the image, the newest first; the same source has the same image under any tag."""
    wanted = {"IMAGE_REPOSITORY": place.repository.name, "IMAGE_SOURCE_DIGEST": ask.source_digest}
    found: dict[str, Build] = {}
    for build in builds if not ask.no_cache else ():
        digest = build.exported.get("IMAGE_DIGEST", "")
        if build.status == "SUCCEEDED" and wanted.items() <= build.variables.items() and repository.DIGEST.fullmatch(digest):
            found.setdefault(digest, build)
    return found


def _is_there(place: Place, digest: str) -> bool:
    return repository.by_digest(place.account, place.repository.name, digest) is not None


def send(place: Place, archive: Callable[[], tuple[Stream, int]], key: str) -> tuple[Source, list[str]]:
    """The source in the bucket, and what was changed; it is packed only where it is not there yet."""
    name, changed = bucket.ensure(place.account, place.bucket)
    source = upload.there(place.account, name, key)
    if source is None:
        source = upload.send(place.account, name, *archive(), key)
        changed.append(f"s3://{source.location}")
    return source, changed


def start(place: Place, ask: Ask, source: Source, machine: Machine) -> tuple[Build, bool]:
    """Starts it, or finds the one of the same call that still runs."""
    asked = request(ask, place.repository, source, machine, place.account.region)
    build, is_new = codebuilds.start(place.account.builds, place.project, asked, queue_s=place.queue_s)
    why = (
        f"{machine.type}, {machine.reason}"
        if is_new
        else f"at most {build.raw.get('timeoutInMinutes')} minutes, as it was asked"
    )
    shell.progress(f"{'started' if is_new else 'found running:'} {build.id} ({why})")
    return build, is_new


def finish(place: Place, build_id: str, take: Callable[[str], None]) -> tuple[Build, shell.Check]:
    """Follows it to its end. Raises SkillError timeout; unreachable for a fault of AWS's own, which the same call may cure."""
    build = follow(place.account, build_id, place.wait_s, take=take)
    check = outcome.judge(build)
    if build.status == "FAULT":
        message = f"{build.id} FAULT: {build.failure() or 'AWS gives no reason'}"
        hint = "the same call builds again; https://health.aws.amazon.com says whether CodeBuild has trouble"
        raise shell.SkillError("unreachable", message, hint=hint, retryable=True, data=outcome.view(build), checks=[check])
    return build, check


def next_calls(build: Build) -> list[str]:
    return [f"{PROGRAM} {verb} {build.id}" for verb in ("status", "logs")]
