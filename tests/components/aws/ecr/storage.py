"""docker-registry behind the repositories: its blobs, and its check that a manifest's blobs are there."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from tests.components.aws.ecr.images import Image, Repository
from tests.components.aws.wire.passing import asked
from tests.components.aws.world import World

TRIES = 20
"""docker-registry empties a link for a moment when its layer is pushed once more, and reads by others meanwhile fail: HEAD
with 500, a manifest with DIGEST_INVALID (some 5 % of them beside two who push the same layer). ECR has no such moment. BuildKit
pushes an image and its cache at once."""


def blob_size(world: World, repository: Repository, digest: str) -> int | None:
    """Bytes; None where the repository does not hold it."""
    for _ in range(TRIES):
        with asked(world.storage_port, "HEAD", f"/v2/{repository.place}/blobs/{digest}", {}) as answer:
            if answer.status != 500:
                break
    return int(answer.getheader("Content-Length") or 0) if answer.status == 200 else None


def put_blob(world: World, repository: Repository, digest: str, length: int, pieces: Iterable[bytes]) -> bool:
    """Whether it was taken: False where the bytes do not have this digest."""
    nothing = {"Content-Length": "0"}
    with asked(world.storage_port, "POST", f"/v2/{repository.place}/blobs/uploads/", nothing) as answer:
        location = str(answer.getheader("Location"))
    path = f"{location}{'&' if '?' in location else '?'}digest={quote(digest)}"
    headers = {"Content-Length": str(length), "Content-Type": "application/octet-stream"}
    with asked(world.storage_port, "PUT", path, headers, pieces) as answer:
        return answer.status == 201


def put_manifest(world: World, repository: Repository, image: Image) -> tuple[int, bytes]:
    """Status and body of docker-registry's answer: 201, or 400 where blobs or manifests that it names are missing."""
    headers = {"Content-Type": image.media_type, "Content-Length": str(len(image.manifest))}
    path = f"/v2/{repository.place}/manifests/{image.digest}"
    for _ in range(TRIES):
        with asked(world.storage_port, "PUT", path, headers, [image.manifest]) as answer:
            status, said = answer.status, answer.read()
        if b'"DIGEST_INVALID"' not in said:
            break
    return status, said
