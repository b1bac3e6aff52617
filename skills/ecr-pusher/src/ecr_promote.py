"""Another tag for an image in the registry, without a pull: its manifest is read and put again."""

from __future__ import annotations

import push_send
import trainyard_shell as shell
from ecr_layers import manifest, put
from ecr_region import Region
from ecr_repository import BUILD_DAYS
from push_regions import Place
from pushed.image import Manifest
from registry_http import TagTaken

BUILD = "build-"
"""Tags of images that were built and not tested yet; only such a tag is removed."""


def promote_in(place: Place, found: Manifest, source: str, tags: tuple[str, ...], *, keep: bool, dry_run: bool) -> None:
    """The tags in one region; `source` is the tag that it had. Raises TagTaken, SkillError."""
    region = place.region
    leaving = source if source.startswith(BUILD) and source not in tags and not keep else None
    place.data |= {"uri": f"{region.uri}@{found.digest}", "digest": found.digest, "tags": list(tags), "verified": False}
    now = {tag: manifest(region, tag) for tag in tags}
    standing = {tag: each.digest if each else None for tag, each in now.items()}
    push_send.refuse_taken(region, standing, found.digest)
    missing = [tag for tag in tags if standing[tag] != found.digest]
    if dry_run:
        place.data |= {"would_tag": missing, "would_untag": [leaving] if leaving else []}
        return
    for tag in missing:
        put(region, found, tag)
        place.changed.append(f"{region.uri}:{tag}")
    _verify(region, found.digest, tags)
    place.data["verified"] = True
    if leaving:
        place.data["untagged"] = _untag(region, leaving, found.digest, tags)
        place.changed += [f"{region.uri}:{leaving} removed"] if place.data["untagged"] else []
    place.checks += _left(region, found.digest)


def promoted_before(place: Place, source: str, tags: tuple[str, ...]) -> Manifest:
    """Where the build tag has gone already, a call before this one has done its work: the tags that are asked for have one image.

    `tags`: none, where it was asked for by its digest. Raises SkillError not-found.
    """
    region = place.region
    found = [manifest(region, tag) for tag in tags] if source.startswith(BUILD) else []
    first = found[0] if found else None
    if first is None or any(each is None or each.digest != first.digest for each in found):
        hint = f"push_image.py tags {region.repository} --region {region.name}; {from_elsewhere(region, source)}"
        raise shell.SkillError("not-found", f"there is no image {region.repository}:{source} in {region.name}", hint=hint)
    summary = f"{region.name}: there is no tag {source}; {', '.join(tags)} was there already, of {first.digest}"
    fix = f"is that the image? --from {source}@DIGEST makes sure"
    place.checks.append(shell.Check("promote.before", "warn", summary, None, fix))
    return first


def from_elsewhere(region: Region, source: str) -> str:
    """The hint for an image that another region may have."""
    word = f"{region.repository}{'@' if source.startswith('sha256:') else ':'}{source}"
    rest = f"--repository {region.repository} --region {region.name} --tag TAG --create"
    return f"an image of another region comes with push_image.py push ecr:{word} --from-region REGION {rest}"


def _verify(region: Region, digest: str, tags: tuple[str, ...]) -> None:
    """As DescribeImages has it. Raises TagTaken."""
    there = _tags(region, digest)
    if missing := [tag for tag in tags if tag not in there]:
        message = f"{digest} in {region.name} has not the tag {', '.join(missing)}: another push took it"
        raise TagTaken("conflict", message, hint="another tag, or the same call again")


def _tags(region: Region, digest: str) -> set[str]:
    with region.asking("read the tags of the image"):
        found = region.client.describe_images(repositoryName=region.repository, imageIds=[{"imageDigest": digest}])
    return {tag for each in found["imageDetails"] for tag in each.get("imageTags", [])}


def _left(region: Region, digest: str) -> list[shell.Check]:
    """Build tags that the image still has: a rule on them deletes it with all its tags."""
    left = sorted(tag for tag in _tags(region, digest) if tag.startswith(BUILD))
    summary = f"{region.name}: the image also has the tag {', '.join(left)}"
    evidence = f"the rules of ensure-repo delete an image {BUILD_DAYS} days after its push while one of its tags is {BUILD}*"
    fix = f"push_image.py promote {region.repository} --from {left[0]} --tag ..." if left else None
    return [shell.Check("tag.build", "warn", shell.clean(summary, 400), evidence, fix)] if left else []


def _untag(region: Region, tag: str, digest: str, tags: tuple[str, ...]) -> str | None:
    """Removes one tag of an image that has others: with its last tag ECR would delete the image."""
    now = manifest(region, tag)
    if now is None or now.digest != digest:
        return None
    _verify(region, digest, tags)
    with region.asking(f"remove the tag {tag}"):
        gone = region.client.batch_delete_image(repositoryName=region.repository, imageIds=[{"imageTag": tag}])
    return tag if gone.get("imageIds") else None
