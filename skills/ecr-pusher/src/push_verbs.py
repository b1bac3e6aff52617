"""The verbs of push_image.py."""

from __future__ import annotations

import time
from typing import Any

import ecr_repository
import push_names
import push_send
import push_tags
from pushed.source import image as image_of
from pushed.source import refuse
import trainyard_shell as shell
from ecr_layers import manifest as manifest_of
from ecr_region import Region
from push_patience import AGAIN, Patience
from push_progress import Progress
from push_regions import Outcome, connected, in_each, refuse_if_none, region_checks
from pushed.image import Image


def push(
    *,
    image: str,
    repository: str,
    regions: tuple[str, ...],
    tags: tuple[str, ...],
    strategy: str | None,
    bump: str,
    project: str,
    create: bool,
    via: str,
    jobs: int,
    tries: int,
    timeout: float,
    dry_run: bool,
) -> shell.Result:
    """The image in each region, verified."""
    began, patience = time.monotonic(), Patience(timeout, tries)
    for each in tags:
        push_names.tag(each)
    refuse(image)
    places = connected(regions, repository)
    asked = in_each(places, lambda region, _: _look(region, create=create))
    refuse_if_none(asked, {"regions": [each.row() for each in asked]}, AGAIN)  # before gigabytes are read
    with image_of(image) as found:
        known = in_each(places, lambda region, outcome: _repository(region, outcome, asked, create=create, dry_run=dry_run))
        chosen = _tags(places, known, tags, strategy, bump, project, found.digest)
        names = chosen.names

        def one(region: Region, outcome: Outcome) -> None:
            earlier = next(each for each in known if each.region == region.name)
            outcome.changed += earlier.changed
            if earlier.error:
                raise earlier.error
            _push_into(region, outcome, found, names, patience, via, jobs, dry_run=dry_run)

        outcomes = in_each(places, one)
        data = _pushed(repository, found, chosen, outcomes, round(time.monotonic() - began, 2), dry_run)
    refuse_if_none(outcomes, {"regions": data["regions"]}, AGAIN)
    done = "would be pushed" if dry_run else f"{found.digest} is there and verified"
    changed = [] if dry_run else [line for each in outcomes for line in each.changed]
    following = [f"push_image.py verify {repository}:{names[0]} --digest {found.digest}"]
    checks = [*region_checks(outcomes, "push.region", done, AGAIN), *chosen.checks]
    return shell.Result(data, checks, changed, [] if dry_run else following)


def _look(region: Region, *, create: bool) -> None:
    """Whether somebody is signed in, and the repository is there. Raises SkillError."""
    if create:
        region.describe()
    else:
        region.need()


def _repository(region: Region, outcome: Outcome, asked: list[Outcome], *, create: bool, dry_run: bool) -> None:
    """Made only now that the image is known to be whole. Raises what the region said before, or SkillError."""
    earlier = next(each for each in asked if each.region == region.name)
    if earlier.error:
        raise earlier.error
    if create:
        outcome.changed += ecr_repository.ensure(region, dry_run=dry_run)


def _tags(
    places: list[Region],
    known: list[Outcome],
    tags: tuple[str, ...],
    strategy: str | None,
    bump: str,
    project: str,
    digest: str,
) -> push_tags.Tags:
    """The same tags in all regions; versions count those of every region that can be asked."""
    there: dict[str, str] = {}
    if strategy == "semver":
        reached = [region for region, outcome in zip(places, known, strict=True) if not outcome.error and region.described]
        for region in reached:
            there |= region.tagged()
    return push_tags.choose(tags, strategy, bump, project, digest, there)


def _push_into(
    region: Region,
    outcome: Outcome,
    image: Image,
    tags: tuple[str, ...],
    patience: Patience,
    via: str,
    jobs: int,
    *,
    dry_run: bool,
) -> None:
    progress = Progress(region.name, image.blobs)
    if not region.described:  # --dry-run --create
        missing = [blob.digest for blob in image.blobs]
        outcome.data |= {"would_create": ecr_repository.request(region.repository), "would_send": missing}
        outcome.data |= {"digest": image.digest, "tags": list(tags), "verified": False}
        return
    way = push_send.way_into(region, patience, via, jobs)
    try:
        now = push_send.standing(way, image, tags)
        push_send.refuse_taken(region, now, image.digest)
        moved = {tag: there for tag, there in now.items() if there not in (None, image.digest)}
        outcome.checks += [_moved(region, tag, str(there), dry_run) for tag, there in moved.items()]
        if dry_run:
            missing = [blob.digest for blob in image.blobs if not way.has(blob.digest)]
            outcome.data |= {"uri": f"{region.uri}@{image.digest}", "digest": image.digest, "verified": False}
            outcome.data |= {"tags": list(tags), "would_send": missing}
            outcome.data["would_tag"] = [tag for tag in tags if now[tag] != image.digest]
            return
        changed: list[str] = []
        try:
            push_send.send(way, image, tags, progress, patience, jobs, changed)
        finally:
            outcome.changed += [f"{region.uri}:{tag}" for tag in changed]
        push_send.verified(way, image, tags, region)
    finally:
        outcome.data.setdefault("layers", progress.layers(len(image.blobs)))
        way.close()
    outcome.data |= push_send.answer(region, image, tags, progress)


def _moved(region: Region, tag: str, there: str, dry_run: bool) -> shell.Check:
    word = "would leave" if dry_run else "left"
    return shell.Check("tag.moved", "warn", f"{region.name}: the tag {tag} {word} {there}", None, "deploy by digest")


def _pushed(
    repository: str, image: Image, chosen: push_tags.Tags, outcomes: list[Outcome], seconds: float, dry_run: bool
) -> dict[str, Any]:
    done = [each.data for each in outcomes if not each.error]
    layers = [each.data.get("layers", {}) for each in outcomes]
    return {
        "repository": repository,
        "digest": image.digest,
        "reference": next((each["uri"] for each in done if "uri" in each), None),
        "tags": list(chosen.names),
        "tag_reason": chosen.why,
        "size_bytes": image.size_bytes,
        "platforms": list(image.platforms),
        "regions": [each.row() for each in outcomes],
        "layers": {name: sum(each.get(name, 0) for each in layers) for name in ("total", "sent", "present", "bytes_sent")},
        "seconds": seconds,
        **({"dry_run": True} if dry_run else {}),
    }


def ensure_repo(*, repository: str, regions: tuple[str, ...], dry_run: bool) -> shell.Result:
    """The repository in each region, made where it is missing."""

    def one(region: Region, outcome: Outcome) -> None:
        outcome.changed += ecr_repository.ensure(region, dry_run=dry_run)
        if region.described:
            outcome.data |= {"uri": region.uri, "arn": region.arn, "created": len(outcome.changed) == 2 and not dry_run}
            outcome.checks += ecr_repository.checks(region)
        elif dry_run:
            outcome.data |= {"would_create": ecr_repository.request(repository), "lifecycle_policy": ecr_repository.policy()}

    outcomes = in_each(connected(regions, repository), one)
    data = {"repository": repository, "regions": [each.row() for each in outcomes]}
    refuse_if_none(outcomes, data, "the same call again")
    done = "would be made" if dry_run else f"{repository} is there"
    changed = [] if dry_run else [line for each in outcomes for line in each.changed]
    return shell.Result(data, region_checks(outcomes, "repository.there", done, "the same call again"), changed)


def tags(*, repository: str, region: str | None, limit: int) -> shell.Result:
    """The images, the newest first."""
    (place,) = connected(() if region is None else (region,), repository)
    place.need()
    images = place.images()
    rows = [
        {
            "tags": [shell.clean(tag, 300) for tag in each.get("imageTags", [])],
            "digest": each["imageDigest"],
            "size_bytes": each.get("imageSizeInBytes"),
            "pushed_at": each["imagePushedAt"].isoformat() if each.get("imagePushedAt") else None,
        }
        for each in images
    ]
    data = {"repository": repository, "region": place.name, "uri": place.uri, "total": len(rows), "images": rows[:limit]}
    return shell.Result(data, truncated=len(rows) > limit)


def verify(
    *, reference: str, regions: tuple[str, ...], digest: str | None, platform: str | None, timeout: float
) -> shell.Result:
    """Whether an image is whole in each region."""
    from ecr_verify import verify_in

    wanted = push_names.reference(reference)
    if digest is not None:
        push_names.digest(digest)
    patience = Patience(timeout)

    def one(region: Region, outcome: Outcome) -> None:
        region.need()
        verify_in(region, outcome, wanted, digest, platform, patience)

    outcomes = in_each(connected(regions, wanted.repository), one)
    data = {"repository": wanted.repository, "reference": reference, "regions": [each.row() for each in outcomes]}
    refuse_if_none(outcomes, data, "push it again")
    found = {each.data["digest"] for each in outcomes if "digest" in each.data}
    checks = [check for each in outcomes for check in each.checks]
    checks += [
        each for each in region_checks(outcomes, "verify.region", "", AGAIN) if each.status == "fail" and each not in checks
    ]
    if len(outcomes) > 1:
        same = len(found) == 1 and not any(each.error for each in outcomes)
        summary = "all regions have one digest" if same else f"the regions have {len(found)} digests"
        checks.append(shell.Check("verify.regions", "pass" if same else "fail", summary, ", ".join(sorted(found))))
    return shell.Result({**data, "digest": next(iter(found)) if len(found) == 1 else None}, checks)


def promote(
    *,
    repository: str,
    source: str,
    regions: tuple[str, ...],
    tags: tuple[str, ...],
    strategy: str | None,
    bump: str,
    project: str,
    keep: bool,
    dry_run: bool,
) -> shell.Result:
    """Another tag for an image that is in the registry."""
    from ecr_promote import promote_in

    image_id = {"imageDigest": source} if push_names.DIGEST.fullmatch(source) else {"imageTag": push_names.tag(source)}
    for each in tags:
        push_names.tag(each)
    places = connected(regions, repository)
    found: dict[str, Any] = {}

    def look(region: Region, outcome: Outcome) -> None:
        region.need()
        found[region.name] = manifest_of(region, image_id)

    known = in_each(places, look)
    digest = next((each.digest for each in found.values() if each), "")
    if not digest and (strategy in ("semver", push_tags.MOVING) or push_tags.MOVING in tags):
        refuse_if_none(known, {}, AGAIN)
        hint = f"push_image.py tags {repository}"
        raise shell.SkillError("not-found", f"there is no image {repository}:{source} to take a tag from", hint=hint)
    chosen = _tags(places, known, tags, strategy, bump, project, digest)

    def one(region: Region, outcome: Outcome) -> None:
        earlier = next(each for each in known if each.region == region.name)
        if earlier.error:
            raise earlier.error
        promote_in(region, outcome, found[region.name], source, chosen.names, keep=keep, dry_run=dry_run)

    outcomes = in_each(places, one)
    rows = [each.row() for each in outcomes]
    refuse_if_none(outcomes, {"regions": rows}, "the same call again")
    good = [each.data for each in outcomes if not each.error]
    digests = {each["digest"] for each in good}
    checks = [*region_checks(outcomes, "promote.region", "would be tagged" if dry_run else "tagged and verified", AGAIN)]
    checks += chosen.checks
    if len(digests) > 1:
        checks.append(
            shell.Check("promote.digest", "fail", f"{source} is another image in each region", ", ".join(sorted(digests)))
        )
    data = {"repository": repository, "digest": good[0]["digest"], "reference": good[0]["uri"], "tags": list(chosen.names)}
    data |= {"tag_reason": chosen.why, "regions": rows}
    changed = [] if dry_run else [line for each in outcomes for line in each.changed]
    return shell.Result(data, checks, changed)
