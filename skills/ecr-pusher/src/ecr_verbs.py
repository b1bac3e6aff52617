"""`ensure-repo`, `tags`, `verify` and `promote`: what is in ECR already."""

from __future__ import annotations

from typing import Any

import ecr_repository
import push_names
import trainyard_shell as shell
from ecr_layers import manifest as manifest_of
from ecr_promote import promote_in
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


def tags(*, repository: str, region: str | None, limit: int) -> shell.Result:
    """The images, the newest first."""
    place = connected(() if region is None else (region,), repository)[0].region
    place.need()
    images = place.images()
    rows = [
        {
            "tags": [shell.clean(tag, 300) for tag in each.get("imageTags", [])],
            "immutable": [shell.clean(tag, 300) for tag in each.get("imageTags", []) if is_immutable(place, tag)],
            "digest": each["imageDigest"],
            "size_bytes": each.get("imageSizeInBytes"),
            "pushed_at": each["imagePushedAt"].isoformat() if each.get("imagePushedAt") else None,
        }
        for each in images[:limit]
    ]
    data = {"repository": repository, "region": place.name, "uri": place.uri, "total": len(images), "images": rows}
    return shell.Result(data, truncated=len(images) > limit)


def verify(
    *, reference: str, regions: tuple[str, ...], digest: str | None, platform: str | None, patience: Patience
) -> shell.Result:
    """Whether an image is whole in each region."""
    wanted = push_names.reference(reference)
    if digest is not None:
        push_names.digest(digest)

    def one(place: Place) -> None:
        place.region.need()
        verify_in(place, wanted, digest, platform, patience)

    places = connected(regions, wanted.repository)
    data = {"repository": wanted.repository, "reference": reference, "regions": in_each(places, one)}
    found = sorted({place.data["digest"] for place in places if "digest" in place.data})
    checks = region_checks(places, "verify.region", "its checks follow")
    if len(places) > 1:
        same = len(found) == 1 and not any(place.error for place in places)
        summary = "all regions have one digest" if same else f"the regions have {len(found)} digests"
        checks.append(shell.Check("verify.regions", "pass" if same else "fail", summary, ", ".join(found)))
    return shell.Result({**data, "digest": found[0] if len(found) == 1 else None}, checks)


def promote(*, repository: str, source: str, regions: tuple[str, ...], wish: Wish, keep: bool, dry_run: bool) -> shell.Result:
    """Another tag for an image that is in the registry."""
    image_id = {"imageDigest": source} if push_names.DIGEST.fullmatch(source) else {"imageTag": push_names.tag(source)}
    places = connected(regions, repository)
    found: dict[str, Manifest | None] = {}

    def look(place: Place) -> None:
        place.region.need()
        found[place.name] = manifest_of(place.region, image_id)

    in_each(places, look)
    digest = next((each.digest for each in found.values() if each), "")
    if not digest and wish.depends_on_image:
        hint = f"push_image.py tags {repository}"
        raise shell.SkillError("not-found", f"there is no image {repository}:{source} to take a tag from", hint=hint)
    chosen = wish.choose(digest, lambda: tagged(places))
    rows = in_each(places, lambda place: promote_in(place, found[place.name], source, chosen.names, keep=keep, dry_run=dry_run))
    checks = region_checks(places, "promote.region", "would be tagged" if dry_run else "tagged and verified")
    checks += [*chosen.checks, *_one_image(source, rows)]
    good = next(row for row in rows if "error" not in row)
    data = {"repository": repository, "digest": good["digest"], "reference": good["uri"], "tags": list(chosen.names)}
    return shell.Result(data | {"tag_reason": chosen.why, "regions": rows}, checks, changes(places, dry_run=dry_run))


def _one_image(source: str, rows: list[dict[str, Any]]) -> list[shell.Check]:
    digests = sorted({row["digest"] for row in rows if "digest" in row and "error" not in row})
    summary = f"{source} is another image in each region"
    return [shell.Check("promote.digest", "fail", summary, ", ".join(digests))] if len(digests) > 1 else []
