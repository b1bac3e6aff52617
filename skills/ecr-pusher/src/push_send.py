"""An image into one repository: the tags looked at first, then the layers side by side, the manifests last, and all of it read back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import push_names
import trainyard_shell as shell
from ecr_layers import ApiWay
from ecr_region import EcrToken, Region
from push_patience import Patience, Stopped
from push_progress import Progress
from push_threads import side_by_side
from pushed.image import Blob, Home, Image, Manifest
from registry_http import Registry, TagTaken
from registry_push import RegistryWay


class Way(Protocol):
    """How a repository is written to: the registry's protocol, or ECR's API."""

    def has(self, digest: str) -> bool: ...

    def send(self, blob: Blob, progress: Progress) -> str:
        """sent | present, and how."""

    def manifest(self, word: str) -> Manifest | None:
        """Under a tag or a digest."""

    def put(self, manifest: Manifest, tag: str | None) -> None:
        """Raises TagTaken."""

    def close(self) -> None: ...


def way_into(region: Region, patience: Patience, via: str, jobs: int, home: Home | None) -> Way:
    """`home`: where the image lies in ECR already."""
    if via == "api":
        return ApiWay(region, patience)
    own = home and home.region == region.name and home.account in ("", region.described.get("registryId"))
    return registry_of(region, patience, jobs, home.repository if home and own else "")


def registry_of(region: Region, patience: Patience, jobs: int, mount_from: str = "") -> RegistryWay:
    host, _, name = region.uri.partition("/")
    if name != region.repository or not host:
        message = f"ECR says {shell.clean(region.uri, 200)} for the repository {region.repository}"
        raise shell.SkillError("unreachable", message, hint="is AWS_ENDPOINT_URL right?")
    return RegistryWay(Registry(host, push_names.repository(name), EcrToken(region), patience, region.arn, jobs), mount_from)


def standing(way: Way, image: Image, tags: tuple[str, ...]) -> dict[str, str | None]:
    """Tag -> the digest that it has in the repository now."""
    found = {tag: way.manifest(tag) for tag in tags}
    return {tag: there.digest if there else None for tag, there in found.items()}


def refuse_taken(region: Region, now: dict[str, str | None], digest: str) -> None:
    """Raises TagTaken before a layer is sent, where an immutable tag is another image's."""
    for tag, there in now.items():
        if there not in (None, digest) and is_immutable(region, tag):
            message = f"the tag {tag} of {region.repository} in {region.name} is {there}, and immutable; this image is {digest}"
            raise TagTaken("conflict", message, hint="another --tag, or --tag-strategy semver", data={"digest": digest})


def is_immutable(region: Region, tag: str) -> bool:
    """Whether ECR lets nobody move this tag, by the repository's setting and its exclusions."""
    import fnmatch

    mutability = str(region.described.get("imageTagMutability", "MUTABLE"))
    filters = [str(each.get("filter", "")) for each in region.described.get("imageTagMutabilityExclusionFilters", [])]
    excluded = any(fnmatch.fnmatchcase(tag, each) for each in filters if "[" not in each and "?" not in each)
    return mutability.startswith("IMMUTABLE") != (mutability.endswith("_WITH_EXCLUSION") and excluded)


def send(way: Way, image: Image, tags: tuple[str, ...], progress: Progress, patience: Patience, jobs: int) -> Iterator[str]:
    """What is missing in the repository; each tag once it is set. Raises SkillError."""
    _blobs(way, image.blobs, progress, patience, jobs)
    *children, top = image.manifests
    for child in children:
        if way.manifest(child.digest) is None:
            way.put(child, None)
    for tag in tags:
        there = way.manifest(tag)
        if there is not None and there.digest == top.digest:
            continue  # ECR refuses an immutable tag even to the image that has it
        try:
            way.put(top, tag)
        except TagTaken as error:
            there = way.manifest(tag)  # another push of the same image may have been quicker
            if there is None or there.digest != top.digest:
                raise TagTaken(
                    "conflict",
                    f"the tag {tag} went to {there.digest if there else 'another image'} meanwhile; this image is {top.digest}",
                    hint="another --tag, or the same call with --tag-strategy semver",
                ) from error
            continue
        yield tag


def _blobs(way: Way, blobs: tuple[Blob, ...], progress: Progress, patience: Patience, jobs: int) -> None:
    def one(blob: Blob) -> None:
        try:
            patience.check()
            if way.has(blob.digest):
                progress.state(blob, "present")
                return
            progress.state(blob, "sending")
            progress.state(blob, way.send(blob, progress))
        except BaseException:
            patience.stopped.set()
            raise

    try:
        _, failures = side_by_side(one, blobs, jobs)
    except BaseException:
        patience.stopped.set()
        raise
    patience.stopped.clear()  # the next region begins anew
    for error in sorted(failures, key=lambda each: isinstance(each, Stopped)):
        raise error


def verified(way: Way, image: Image, tags: tuple[str, ...], region: Region) -> None:
    """Every tag and the digest lead to the bytes that were meant. Raises SkillError conflict."""
    for word in (image.digest, *tags):
        there = way.manifest(word)
        if there is None or there.digest != image.digest:
            found = there.digest if there else "nothing"
            message = f"{region.repository}:{word} in {region.name} leads to {found}, not to {image.digest}"
            raise shell.SkillError(
                "conflict", message, hint="did another push move the tag? The same call again", retryable=True
            )
