"""`push`: an image into each region, verified."""

from __future__ import annotations

import time
from typing import Any

import ecr_repository
import push_send
import trainyard_shell as shell
from pushed.image import Image
from pushed.source import image as image_of
from pushed.source import refuse
from push_patience import Patience
from push_progress import Progress
from push_regions import Place, changes, connected, in_each, region_checks, tagged
from push_tags import Tags, Wish


def push(
    *,
    image: str,
    from_region: str | None,
    repository: str,
    regions: tuple[str, ...],
    wish: Wish,
    create: bool,
    via: str,
    jobs: int,
    patience: Patience,
    dry_run: bool,
) -> shell.Result:
    """Raises SkillError."""
    began = time.monotonic()
    refuse(image, from_region)
    early = None if wish.depends_on_image else wish.choose("", dict)  # without git nothing need be read
    places = connected(regions, repository)
    in_each(places, lambda place: _look(place, create=create))  # before gigabytes are read
    with image_of(image, from_region, patience) as found:
        if create:  # only now that the image is known to be whole
            in_each(places, lambda place: _create(place, dry_run=dry_run))
        chosen = early or wish.choose(found.digest, lambda: tagged(places))

        def one(place: Place) -> None:
            if place.region.described:
                _push_into(place, found, chosen.names, patience, via, jobs, dry_run=dry_run)
            else:
                _would_create(place, found, chosen.names)

        rows = in_each(places, one)
    data = _answer(repository, found, chosen, rows) | {"seconds": round(time.monotonic() - began, 2)}
    done = "would be pushed" if dry_run else "{uri} is there and verified"
    named = "".join(f" --region {each}" for each in regions)
    following = [f"push_image.py verify {repository}:{chosen.names[0]} --digest {found.digest}{named}"]
    checks = [*region_checks(places, "push.region", done), *chosen.checks]
    return shell.Result(data, checks, changes(places, dry_run=dry_run), [] if dry_run else following)


def _look(place: Place, *, create: bool) -> None:
    """Whether somebody is signed in, and the repository is there. Raises SkillError."""
    if create:
        place.region.describe()
    else:
        place.region.need()


def _create(place: Place, *, dry_run: bool) -> None:
    place.changed += ecr_repository.ensure(place.region, dry_run=dry_run)


def _would_create(place: Place, image: Image, tags: tuple[str, ...]) -> None:
    """The answer of a dry run where there is no repository yet."""
    place.data |= {"would_create": ecr_repository.request(place.region.repository)}
    place.data |= {"would_send": [blob.digest for blob in image.blobs], "would_tag": list(tags)}
    place.data |= {"digest": image.digest, "tags": list(tags), "verified": False}
    place.data["layers"] = Progress(place.name, image.blobs).layers(len(image.blobs))


def _push_into(
    place: Place, image: Image, tags: tuple[str, ...], patience: Patience, via: str, jobs: int, *, dry_run: bool
) -> None:
    region, progress = place.region, Progress(place.name, image.blobs)
    way = push_send.way_into(region, patience, via, jobs, image.home)
    try:
        now = push_send.standing(way, image, tags)
        push_send.refuse_taken(region, now, image.digest)
        place.checks += [
            _moved(place.name, tag, there, dry_run) for tag, there in now.items() if there not in (None, image.digest)
        ]
        place.data |= {"uri": f"{region.uri}@{image.digest}", "digest": image.digest, "tags": list(tags), "verified": False}
        if dry_run:
            missing = [blob.digest for blob in image.blobs if not way.has(blob.digest)]
            progress.counts["present"] = len(image.blobs) - len(missing)
            place.data["would_send"] = missing
            place.data["would_tag"] = [tag for tag in tags if now[tag] != image.digest]
            return
        for tag in push_send.send(way, image, tags, progress, patience, jobs):
            place.changed.append(f"{region.uri}:{tag}")
        push_send.verified(way, image, tags, region)
        place.data["verified"] = True
    finally:
        place.data["layers"] = progress.layers(len(image.blobs))
        way.close()


def _moved(region: str, tag: str, there: str | None, dry_run: bool) -> shell.Check:
    word = "would leave" if dry_run else "left"
    return shell.Check("tag.moved", "warn", f"{region}: the tag {tag} {word} {there}", None, "deploy by digest")


def _answer(repository: str, image: Image, chosen: Tags, rows: list[dict[str, Any]]) -> dict[str, Any]:
    layers = [row.get("layers", {}) for row in rows]
    return {
        "repository": repository,
        "digest": image.digest,
        "reference": next((row["uri"] for row in rows if "uri" in row and "error" not in row), None),
        "tags": list(chosen.names),
        "tag_reason": chosen.why,
        "size_bytes": image.size_bytes,
        "platforms": list(image.platforms),
        "regions": rows,
        "layers": {name: sum(each.get(name, 0) for each in layers) for name in ("total", "sent", "present", "bytes_sent")},
    }
