"""An image as it will stand in the registry: blobs, and the manifests that name them, known before anything is sent."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import trainyard_files as files
import trainyard_shell as shell
from push_names import DIGEST

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS, INDEXES = (OCI_MANIFEST, DOCKER_MANIFEST), (OCI_INDEX, DOCKER_INDEX)

MAX_MANIFEST_BYTES = 4 << 20
"""ECR's own limit; a config is held to it too."""
MAX_BLOBS = 4096
MAX_BLOB_BYTES = 1 << 42
ANEW = "build the image again, or write its archive again"
MEDIA_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")


class Reader(Protocol):
    """Bytes that lie in a file, readable by several threads."""

    def at(self, offset: int, size: int) -> bytes:
        """At most `size` bytes from `offset`; fewer only at the end. Raises SkillError."""


@dataclass(frozen=True)
class Blob:
    """A config or a layer."""

    digest: str
    size: int
    """Bytes, as they are sent."""
    media_type: str
    reader: Reader = field(repr=False, compare=False)

    def chunks(self, size: int, start: int = 0) -> Iterator[bytes]:
        while start < self.size:
            data = self.reader.at(start, min(size, self.size - start))
            if not data:
                raise shell.SkillError("usage", f"blob {self.digest} is cut short in the archive", hint=ANEW)
            yield data
            start += len(data)

    def read(self) -> bytes:
        """All of a small one, verified. Raises SkillError usage."""
        data = b"".join(self.chunks(1 << 20))
        if digest_of(data) != self.digest:
            raise damaged(self.digest)
        return data


@dataclass(frozen=True)
class Manifest:
    """The bytes that a digest stands for."""

    raw: bytes = field(repr=False)
    media_type: str

    @property
    def digest(self) -> str:
        return digest_of(self.raw)


@dataclass(frozen=True)
class Home:
    """A repository of ECR that has the image."""

    region: str
    account: str
    """Empty: that of who is signed in."""
    repository: str


@dataclass(frozen=True)
class Image:
    """What is pushed: first the blobs, then the manifests in this order, the last of them under the tags."""

    blobs: tuple[Blob, ...]
    manifests: tuple[Manifest, ...]
    platforms: tuple[str, ...]
    """os/arch of each image in it."""
    home: Home | None = None

    @property
    def digest(self) -> str:
        return self.manifests[-1].digest

    @property
    def size_bytes(self) -> int:
        """Compressed, each blob once."""
        return sum(blob.size for blob in self.blobs)


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def damaged(digest: str) -> shell.SkillError:
    return shell.SkillError("usage", f"blob {digest} has other bytes than its digest says", hint=ANEW)


def canonical(document: dict[str, Any]) -> bytes:
    """One writing of a document, so that equal images have equal digests."""
    return json.dumps(document, separators=(",", ":"), sort_keys=False).encode()


def parse(raw: bytes, what: str) -> dict[str, Any]:
    """A JSON object from outside. Raises SkillError usage, which says what it was."""
    try:
        document = files.parse(raw)
    except files.Unusable as error:
        raise unusable(what, str(error)) from error
    if not isinstance(document, dict):
        raise unusable(what, "it is not a JSON object")
    return document


def unusable(what: str, why: str) -> shell.SkillError:
    return shell.SkillError("usage", shell.clean(f"{what} cannot be used: {why}", 500), hint=ANEW)


@dataclass(frozen=True)
class Descriptor:
    """How a manifest names a blob or another manifest."""

    digest: str
    size: int
    media_type: str
    annotations: dict[str, Any] = field(default_factory=dict)


def descriptor(value: Any, what: str) -> Descriptor:
    """Checked member by member. Raises SkillError usage."""
    if not isinstance(value, dict):
        raise unusable(what, "a descriptor is not an object")
    digest, size, media_type = value.get("digest"), value.get("size"), value.get("mediaType")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        raise unusable(what, f"{str(digest)[:80]!r} is not a valid SHA-256 digest")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_BLOB_BYTES:
        raise unusable(what, f"the size of {digest} is not a number of bytes")
    if not isinstance(media_type, str) or not MEDIA_TYPE.fullmatch(media_type):
        raise unusable(what, f"the media type of {digest} is not valid")
    if value.get("urls"):
        message = f"layer {digest} lies on another server (`urls`)"
        raise shell.SkillError("usage", message, hint="build on a base image whose layers may be distributed")
    notes = value.get("annotations")
    return Descriptor(digest, size, media_type, notes if isinstance(notes, dict) else {})


def descriptors(document: dict[str, Any], member: str, what: str) -> list[Descriptor]:
    """The list of descriptors under `member`. Raises SkillError usage."""
    found = document.get(member)
    if not isinstance(found, list) or len(found) > MAX_BLOBS:
        raise unusable(what, f"its member {member} is not a list of at most {MAX_BLOBS}")
    return [descriptor(each, what) for each in found]


def contents(document: dict[str, Any], what: str) -> list[Descriptor]:
    """Config and layers of a manifest, the config first."""
    return [descriptor(document.get("config"), what), *descriptors(document, "layers", what)]


def platform_of(config: dict[str, Any]) -> str:
    """`linux/amd64`, of a config; empty where it is none of an image."""
    system, arch = config.get("os"), config.get("architecture")
    return shell.clean(f"{system}/{arch}", 80) if isinstance(system, str) and isinstance(arch, str) else ""


def once(blobs: list[Blob]) -> tuple[Blob, ...]:
    """Without repetitions, in order."""
    return tuple({blob.digest: blob for blob in blobs}.values())
