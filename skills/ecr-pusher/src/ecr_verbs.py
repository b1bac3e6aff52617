"""`ensure-repo`, `tags`, `verify` and `promote`: what is in ECR already."""

from __future__ import annotations

from typing import Any

import ecr_repository
import push_names
import trainyard_shell as shell
from ecr_layers import manifest as manifest_of
from ecr_promote import from_elsewhere, promote_in, promoted_before
from ecr_region import Region
from ecr_verify import verify_in
from pushed.image import Manifest
from push_patience import Patience
from push_send import is_immutable
from push_regions import Place, changes, connected, in_each, region_checks, tagged
from push_tags import Wish


def ensure_repo(*, repository: str, regions: tuple[str, ...], dry_run: bool) -> shell.Result:
    """The repository in each region, made where it is missing."""

    def one(place: Place) -> None:
        region = place.region
        place.changed += ecr_repository.ensure(region, dry_run=dry_run)
        if region.described:
            place.data |= {"uri": region.uri, "arn": region.arn, "created": len(place.changed) == 2 and not dry_run}
            place.checks += ecr_repository.checks(region)
        else:
            place.data |= {"would_create": ecr_repository.request(repository), "lifecycle_policy": ecr_repository.policy()}

    places = connected(regions, repository)
    data = {"repository": repository, "regions": in_each(places, one)}
    done = "would be made, or is there" if dry_run else f"{repository} is there"
    return shell.Result(data, region_checks(places, "repository.there", done), changes(places, dry_run=dry_run))


def tags(*, repository: str, regions: tuple[str, ...], limit: int) -> shell.Result:
    """The images of each region, the newest first."""
    images: list[dict[str, Any]] = []

    def one(place: Place) -> None:
        place.region.need()
        found = place.region.images()
        place.data |= {"uri": place.region.uri, "total": len(found)}
        images.extend(_rows(place.region, found[:limit]))

    places = connected(regions, repository)
    rows = in_each(places, one)
    total = sum(place.data.get("total", 0) for place in places)
    checks = region_checks(places, "tags.region", "{total} images") if len(places) > 1 else []
    data = {"repository": repository, "total": total, "regions": rows, "images": images}
    return shell.Result(data, checks, truncated=total > len(images))


def _rows(region: Region, images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "region": region.name,
            "tags": [shell.clean(tag, 300) for tag in each.get("imageTags", [])],
            "immutable": [shell.clean(tag, 300) for tag in each.get("imageTags", []) if is_immutable(region, tag)],
            "digest": each["imageDigest"],
            "size_bytes": each.get("imageSizeInBytes"),
            "pushed_at": each["imagePushedAt"].isoformat() if each.get("imagePushedAt") else None,
        }
        for each in images
    ]


def verify(
    *, reference: str, regions: tuple[str, ...], digest: str | None, platform: str | None, patience: Patience
) -> shell.Result:
    """Whether an image is whole in each region."""
    wanted = push_names.reference(reference)
    if digest is not None:
        push_names.digest(digest)

    def one(place: Place) -> None:
        place.region.need("are name, region and account those of the image? --region, AWS_PROFILE")
        verify_in(place, wanted, digest, platform, patience)

    places = connected(regions or wanted.regions, wanted.repository)
    data = {"repository": wanted.repository, "reference": reference, "regions": in_each(places, one)}
    found = sorted({place.data["digest"] for place in places if "digest" in place.data})
    checks = region_checks(places, "verify.region", "{uri}")
    if len(places) > 1:
        same = len(found) == 1 and not any(place.error for place in places)
        summary = "all regions have one digest" if same else f"the regions have {len(found)} digests"
        checks.append(shell.Check("verify.regions", "pass" if same else "fail", summary, ", ".join(found)))
    return shell.Result({**data, "digest": found[0] if len(found) == 1 else None}, checks)


def promote(*, repository: str, source: str, regions: tuple[str, ...], wish: Wish, keep: bool, dry_run: bool) -> shell.Result:
    """Another tag for an image that is in the registry."""
    tag, wanted = push_names.tag_or_digest(source)
    places = connected(regions, repository)
    found: dict[str, Manifest | None] = {}

    def look(place: Place) -> None:
        place.region.need(from_elsewhere(place.region, source))
        found[place.name] = manifest_of(place.region, wanted or tag)

    def look_again(place: Place) -> None:
        found[place.name] = found[place.name] or promoted_before(place, source, () if wanted else chosen.names)

    def one(place: Place) -> None:
        image = found[place.name]
        assert image is not None, "look_again has found it"
        promote_in(place, image, tag, chosen.names, keep=keep, dry_run=dry_run)

    in_each(places, look)
    digest = next((each.digest for each in found.values() if each), "")
    if not digest and wish.depends_on_image:
        hint = f"push_image.py tags {repository}"
        raise shell.SkillError("not-found", f"there is no image {repository}:{source} to take a tag from", hint=hint)
    chosen = wish.choose(digest, lambda: tagged(places))
    _refuse_several(source, in_each(places, look_again), found)
    rows = in_each(places, one)
    checks = region_checks(places, "promote.region", "would be tagged" if dry_run else "{uri} is tagged and verified") + [
        *chosen.checks
    ]
    good = next(row for row in rows if "error" not in row)
    data = {"repository": repository, "digest": good["digest"], "reference": good["uri"], "tags": list(chosen.names)}
    return shell.Result(data | {"tag_reason": chosen.why, "regions": rows}, checks, changes(places, dry_run=dry_run))


def _refuse_several(source: str, rows: list[dict[str, Any]], found: dict[str, Manifest | None]) -> None:
    """Raises SkillError conflict before a tag is set, where one tag would become two images."""
    digests = {region: each.digest for region, each in found.items() if each}
    if len(set(digests.values())) > 1:
        told = ", ".join(f"{digest} in {region}" for region, digest in digests.items())
        message = f"{source} is not one image in all regions: {told}; nothing was tagged"
        raise shell.SkillError("conflict", message, hint="--from DIGEST, or one --region a call", data={"regions": rows})
