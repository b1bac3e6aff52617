"""An OCI layout: its manifests are pushed byte for byte, so the digest is the one that the builder printed.

Source: the OCI image layout specification (index.json, blobs/sha256/HEX).
"""

from __future__ import annotations

from typing import Protocol

import trainyard_shell as shell
from pushed.layer import Part
from pushed.image import (
    INDEXES,
    MANIFESTS,
    MAX_MANIFEST_BYTES,
    Blob,
    Descriptor,
    Image,
    Manifest,
    contents,
    damaged,
    descriptors,
    digest_of,
    once,
    parse,
    platform_of,
    unusable,
)

MAX_DEPTH = 3
"""An index of indexes of manifests: what BuildKit writes with attestations has two levels."""
MAX_MANIFESTS = 256


class Files(Protocol):
    what: str

    def find(self, name: str) -> Part | None:
        """The file of that name in the archive."""

    def resolve(self, name: str) -> str:
        """The name of the file that a name leads to, through links."""


def read(source: Files, chosen: str | None = None) -> Image:
    """The image of an OCI layout; `chosen`: its digest, where the layout has several. Raises SkillError usage, not-found."""
    index = parse(document(source, "index.json"), f"index.json of {source.what}")
    top = _choose(descriptors(index, "manifests", source.what), chosen, source.what)
    tree = _Tree(source)
    tree.add(top, depth=1)
    return Image(once(tree.blobs), tuple(tree.manifests.values()), tuple(dict.fromkeys(tree.platforms)))


def _choose(found: list[Descriptor], chosen: str | None, what: str) -> Descriptor:
    if chosen is not None:
        found = [each for each in found if each.digest == chosen]
        if not found:
            raise shell.SkillError(
                "not-found", f"{what} has no image {chosen}", hint="leave the digest out to see which it has"
            )
    unlike = {each.digest: each for each in found}
    if len(unlike) == 1:
        return found[0]
    if not found:
        raise unusable(what, "it holds no image")
    names = ", ".join(list(unlike)[:8])
    raise shell.SkillError(
        "usage", f"{what} holds {len(unlike)} images: {names}", hint=f"choose one: oci:PATH@{next(iter(unlike))}"
    )


def document(source: Files, name: str) -> bytes:
    """A small file of the archive. Raises SkillError usage."""
    part = source.find(name)
    if part is None:
        raise unusable(source.what, f"it has no {name}")
    if part.size > MAX_MANIFEST_BYTES:
        raise unusable(source.what, f"{name} has {part.size} bytes, at most {MAX_MANIFEST_BYTES}")
    return part.at(0, part.size)


def blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


class _Tree:
    """All that hangs on one manifest or index, children before parents."""

    def __init__(self, source: Files) -> None:
        self.source = source
        self.blobs: list[Blob] = []
        self.manifests: dict[str, Manifest] = {}
        self.platforms: list[str] = []

    def add(self, top: Descriptor, depth: int) -> None:
        if top.digest in self.manifests:
            return
        if depth > MAX_DEPTH or len(self.manifests) >= MAX_MANIFESTS:
            raise unusable(self.source.what, "its indexes are nested too deeply, or too many")
        raw = document(self.source, blob_name(top.digest))
        if digest_of(raw) != top.digest or len(raw) != top.size:
            raise damaged(top.digest)
        what = f"manifest {top.digest}"
        found = parse(raw, what)
        if found.get("mediaType", top.media_type) != top.media_type:
            raise unusable(what, "its mediaType differs from the one in the index")
        if top.media_type in INDEXES:
            for child in descriptors(found, "manifests", what):
                self.add(child, depth + 1)
        elif top.media_type in MANIFESTS:
            self._image(contents(found, what), is_attestation="vnd.docker.reference.type" in top.annotations)
        else:
            raise unusable(what, f"its media type {top.media_type} is not one of an image")
        self.manifests[top.digest] = Manifest(raw, top.media_type)

    def _image(self, parts: list[Descriptor], *, is_attestation: bool) -> None:
        blobs = [self._blob(each) for each in parts]
        if parts[0].size > MAX_MANIFEST_BYTES:
            raise unusable(self.source.what, f"config {parts[0].digest} has more than {MAX_MANIFEST_BYTES} bytes")
        config = parse(blobs[0].read(), f"config {parts[0].digest}")
        if not is_attestation and (platform := platform_of(config)):
            self.platforms.append(platform)
        self.blobs += blobs

    def _blob(self, named: Descriptor) -> Blob:
        part = self.source.find(blob_name(named.digest))
        if part is None:
            raise unusable(self.source.what, f"it has no blob {named.digest}")
        if part.size != named.size:
            raise unusable(self.source.what, f"blob {named.digest} has {part.size} bytes, its manifest says {named.size}")
        return Blob(named.digest, named.size, named.media_type, part)
