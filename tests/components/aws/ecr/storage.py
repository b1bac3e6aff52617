"""docker-registry behind the repositories: its blobs, and its check that a manifest's blobs are there."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote

from tests.components.aws.ecr.images import Image, Repository
from tests.components.aws.wire.passing import asked
from tests.components.aws.world import World


def blob_size(world: World, repository: Repository, digest: str) -> int | None:
    """Bytes; None where the repository does not hold it."""
    with asked(world.storage_port, "HEAD", f"/v2/{repository.place}/blobs/{digest}", {}) as answer:
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
    with asked(world.storage_port, "PUT", path, headers, [image.manifest]) as answer:
        return answer.status, answer.read()
