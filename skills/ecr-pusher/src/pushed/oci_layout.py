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


class Source(Protocol):
    """Where the parts of an image lie."""

    what: str

    def manifest(self, digest: str) -> bytes:
        """Not verified. Raises SkillError."""

    def blob(self, named: Descriptor) -> Blob:
        """Raises SkillError."""


def read(source: Files, chosen: str | None = None) -> Image:
    """The image of an OCI layout; `chosen`: its digest or its name. Raises SkillError usage, not-found."""
    return read_from(source, _choose(tops(source), chosen, source.what))


def tops(source: Files) -> list[Descriptor]:
    """What index.json names. Raises SkillError usage."""
    return descriptors(parse(document(source, "index.json"), f"index.json of {source.what}"), "manifests", source.what)


def read_from(source: Files, top: Descriptor) -> Image:
    """An image, or an index and all of its images. Raises SkillError usage."""
    return gathered(InFiles(source), top)


def gathered(source: Source, top: Descriptor) -> Image:
    """The same, wherever its parts lie."""
    tree = _Tree(source)
    tree.add(top, depth=1)
    return Image(once(tree.blobs), tuple(tree.manifests.values()), tuple(dict.fromkeys(tree.platforms)))


def _choose(found: list[Descriptor], chosen: str | None, what: str) -> Descriptor:
    if not found:
        raise unusable(what, "it holds no image")
    names = shell.clean(", ".join(dict.fromkeys(" ".join(map(str, _names(each))) for each in found)), 800)
    fitting = [each for each in found if chosen is None or chosen in _names(each)]
    unlike = {each.digest for each in fitting}
    if len(unlike) == 1:
        return fitting[0]
    if not fitting:
        raise shell.SkillError(
            "not-found", f"{what} has no image {chosen}; it has {names}", hint="oci:PATH@DIGEST or PATH@NAME"
        )
    message = f"{what} holds {len(unlike)} images{f' of the name {chosen}' if chosen else ''}: {names}"
    raise shell.SkillError("usage", message, hint=f"choose one: oci:PATH@{fitting[0].digest}")


def _names(top: Descriptor) -> list[object]:
    """Its digest, and what index.json calls it: `org.opencontainers.image.ref.name` of the specification, and BuildKit's own."""
    told = [top.annotations.get(key) for key in ("io.containerd.image.name", "org.opencontainers.image.ref.name")]
    short = [name.removeprefix("docker.io/").removeprefix("library/") for name in told if isinstance(name, str)]
    return list(dict.fromkeys([top.digest, *(name for name in told if name), *short]))


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

    def __init__(self, source: Source) -> None:
        self.source = source
        self.blobs: list[Blob] = []
        self.manifests: dict[str, Manifest] = {}
        self.platforms: list[str] = []

    def add(self, top: Descriptor, depth: int) -> None:
        if top.digest in self.manifests:
            return
        if depth > MAX_DEPTH or len(self.manifests) >= MAX_MANIFESTS:
            raise unusable(self.source.what, "its indexes are nested too deeply, or too many")
        raw = self.source.manifest(top.digest)
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
        blobs = [self.source.blob(each) for each in parts]
        if parts[0].size > MAX_MANIFEST_BYTES:
            raise unusable(self.source.what, f"config {parts[0].digest} has more than {MAX_MANIFEST_BYTES} bytes")
        config = parse(blobs[0].read(), f"config {parts[0].digest}")
        if not is_attestation and (platform := platform_of(config)):
            self.platforms.append(platform)
        self.blobs += blobs


class InFiles:
    """The parts in the files of a layout."""

    def __init__(self, source: Files) -> None:
        self.source, self.what = source, source.what

    def manifest(self, digest: str) -> bytes:
        return document(self.source, blob_name(digest))

    def blob(self, named: Descriptor) -> Blob:
        part = self.source.find(blob_name(named.digest))
        if part is None:
            raise unusable(self.what, f"it has no blob {named.digest}")
        if part.size != named.size:
            raise unusable(self.what, f"blob {named.digest} has {part.size} bytes, its manifest says {named.size}")
        return Blob(named.digest, named.size, named.media_type, part)
