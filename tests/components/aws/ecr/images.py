"""What a repository holds: manifests with their tags, in the order they were pushed, and what may be done to a tag."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import ACCOUNT, World

Document = dict[str, Any]
INDEX_TYPES = {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Image:
    manifest: bytes
    media_type: str
    pushed_at: float = field(default_factory=time.time)
    """Epoch seconds."""
    tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.digest = digest_of(self.manifest)
        self.document: Document = json.loads(self.manifest)

    @property
    def children(self) -> list[str]:
        """Digests of the manifests that an index lists."""
        return [each["digest"] for each in self.document.get("manifests", [])]

    @property
    def compressed_bytes(self) -> int:
        """Of configuration and layers."""
        parts = [*self.document.get("layers", []), self.document.get("config", {})]
        return sum(int(part.get("size", 0)) for part in parts)

    def ids(self) -> list[dict[str, str]]:
        """One for each tag, or one without."""
        return [{"imageDigest": self.digest, "imageTag": tag} for tag in self.tags] or [{"imageDigest": self.digest}]


@dataclass
class Repository:
    """The images of a repository that exists."""

    region: str
    name: str
    place: str
    """Its name in docker-registry: a repository that is made again under the same name is empty."""
    created_at: float
    """Epoch seconds, as moto has it."""
    images: dict[str, Image] = field(default_factory=dict)
    mutability: str = "MUTABLE"
    exclusions: tuple[str, ...] = ()

    @property
    def arn(self) -> str:
        return f"arn:aws:ecr:{self.region}:{ACCOUNT}:repository/{self.name}"

    def tagged(self, tag: str) -> Image | None:
        return next((image for image in self.images.values() if tag in image.tags), None)

    def find(self, tag: str | None, digest: str | None) -> Image | None:
        """The image that has both, where both are given."""
        image = self.images.get(digest) if digest else self.tagged(tag or "")
        return image if image and (not tag or tag in image.tags) else None

    def immutable(self, tag: str) -> bool:
        """https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html"""
        excluded = any(fnmatch.fnmatchcase(tag, each) for each in self.exclusions)
        return self.mutability == "IMMUTABLE" or self.mutability == (
            "MUTABLE_WITH_EXCLUSION" if excluded else "IMMUTABLE_WITH_EXCLUSION"
        )

    def tag_refusal(self, tag: str) -> str:
        """Of an immutable tag that another image has."""
        what = "repository" if self.mutability == "IMMUTABLE" else "tag"
        return (
            f"The image tag '{tag}' already exists in the '{self.name}' repository and cannot be overwritten "
            f"because the {what} is immutable."
        )

    def put(self, image: Image, tag: str | None) -> Image:
        """Keep it, and give it the tag, which the image that had it loses."""
        image = self.images.setdefault(image.digest, image)
        if tag and tag not in image.tags:
            if before := self.tagged(tag):
                before.tags.remove(tag)
            image.tags.append(tag)
        return image

    def size(self, image: Image) -> int:
        """Compressed bytes; an index counts as its largest image."""
        children = [self.images[digest] for digest in image.children if digest in self.images]
        return max([image.compressed_bytes, *(self.size(child) for child in children)])

    def parents(self, image: Image) -> list[str]:
        return [each.digest for each in self.images.values() if image.digest in each.children]


def repository(world: World, region: str, name: str) -> Repository:
    """Raises Refused where moto knows no such repository."""
    described = world.moto_json(
        "AmazonEC2ContainerRegistry_V20150921.DescribeRepositories", region, "ecr", {"repositoryNames": [name]}
    )["repositories"][0]
    with world.lock:
        found = world.repositories.get((region, name))
        # Made by CloudFormation, or again: what the one before it held is not in it.
        if found is None or found.created_at != described["createdAt"]:
            found = Repository(region, name, f"r{next(world.serial)}", described["createdAt"])
            world.repositories[region, name] = found
        found.mutability = described["imageTagMutability"]
        found.exclusions = tuple(each["filter"] for each in described.get("imageTagMutabilityExclusionFilters") or ())
    return found


def not_found(name: str, tag: str | None, digest: str | None) -> Refused:
    what = f"{{imageDigest:'{digest or 'null'}', imageTag:'{tag or 'null'}'}}"
    return Refused(
        "ImageNotFoundException",
        f"The image with imageId {what} does not exist within the repository with name '{name}' "
        f"in the registry with id '{ACCOUNT}'",
    )


def page(items: Iterable[Any], request: Document, size: int = 100) -> tuple[list[Any], dict[str, str]]:
    """One page, and the token of the next one if there is one."""
    every, start = list(items), int(request.get("nextToken") or 0)
    end = start + int(request.get("maxResults") or size)
    return every[start:end], {"nextToken": str(end)} if end < len(every) else {}
