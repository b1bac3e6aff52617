"""What `docker save` writes: plain layers and a config, of which the manifest is made here.

Source: the image specification v1.2 of Docker (manifest.json with Config and Layers). From Docker 25 on the archive is an OCI layout too;
where its own manifest names compressed layers (the containerd store), that one is pushed as it is.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from typing import Any

import trainyard_files as files
import trainyard_shell as shell
from push_names import DIGEST
from pushed.layer import Part, compressed, kept, media_type, pieces, unpacked_digest
from pushed.image import (
    INDEXES,
    MANIFESTS,
    MAX_BLOBS,
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Blob,
    Descriptor,
    Image,
    Manifest,
    canonical,
    contents,
    damaged,
    descriptors,
    digest_of,
    once,
    parse,
    platform_of,
    unusable,
)
from pushed.oci_layout import Files, blob_name, document, read_from, tops

NAMED = re.compile(r"(?:blobs/sha256/|sha256:)?([0-9a-f]{64})(?:\.json)?")
"""Names of a config: Docker's since 25, crane's, Docker's before that."""
Packed = dict[str, tuple[Blob, str]]
"""Layers that were compressed while they came in: file in the archive -> (blob, digest of the plain bytes)."""


def image(source: Files, name: str | None = None, packed: Packed | None = None) -> Image:
    """The image of an archive, its layers compressed. `name`: which, where there are several. Raises SkillError usage, not-found."""
    entry = _entry(source, name)
    raw = _config(source, _text(entry.get("Config"), source))
    if own := _own_manifest(source, digest_of(raw)):
        return read_from(source, own)
    config = parse(raw, f"the config of {source.what}")
    layers = _layers(entry, config, source, packed or {})
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": digest_of(raw), "size": len(raw)},
        "layers": [{"mediaType": each.media_type, "digest": each.digest, "size": each.size} for each in layers],
    }
    blob = kept([raw], OCI_CONFIG)
    platform = platform_of(config)
    if not platform:
        raise unusable(source.what, "its config names no os and architecture")
    return Image(once([blob, *layers]), (Manifest(canonical(body), OCI_MANIFEST),), (platform,))


def _config(source: Files, name: str) -> bytes:
    """The config, which is named by its own digest in most archives. Raises SkillError usage."""
    raw, named = document(source, name), NAMED.fullmatch(name)
    if named and digest_of(raw) != f"sha256:{named[1]}":
        raise damaged(f"sha256:{named[1]}")
    return raw


def _own_manifest(source: Files, config: str) -> Descriptor | None:
    """Of a layout whose layers are compressed: the index with all of its images, else the one manifest that has this config."""
    for top in tops(source) if source.find("index.json") else []:
        below = _children(source, top) if top.media_type in INDEXES else []
        for each in (top, *below):
            if each.media_type in MANIFESTS and _is_packed(source, each) and _contents(source, each)[0].digest == config:
                return top if all(_is_packed(source, child) for child in below) else each
    return None


def _is_packed(source: Files, manifest: Descriptor) -> bool:
    """Whether it is there with all it names, and its layers are compressed; an attestation has none."""
    if manifest.media_type not in MANIFESTS or source.find(blob_name(manifest.digest)) is None:
        return False
    found = [(each.media_type, source.find(blob_name(each.digest))) for each in _contents(source, manifest)]
    return all(part is not None and ("tar" not in kind or media_type(part.at(0, 4))) for kind, part in found)


def _contents(source: Files, manifest: Descriptor) -> list[Descriptor]:
    what = f"manifest {manifest.digest}"
    return contents(parse(document(source, blob_name(manifest.digest)), what), what)


def _children(source: Files, index: Descriptor) -> list[Descriptor]:
    if source.find(blob_name(index.digest)) is None:
        return []
    what = f"index {index.digest}"
    return descriptors(parse(document(source, blob_name(index.digest)), what), "manifests", what)


def _entry(source: Files, name: str | None) -> dict[str, Any]:
    """The image's entry in manifest.json."""
    try:
        found = files.parse(document(source, "manifest.json"))
    except files.Unusable as error:
        raise unusable(f"manifest.json of {source.what}", str(error)) from error
    entries = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    if not entries:
        raise unusable(source.what, "its manifest.json names no image")
    tags = shell.clean(json.dumps([tag for each in entries for tag in each.get("RepoTags") or []]), 800)
    if name is not None:
        entries = [each for each in entries if name in (each.get("RepoTags") or [])]
        if not entries:
            message = f"{source.what} has no image {name}; it has {tags}"
            raise shell.SkillError("not-found", message, hint="docker-archive:PATH@NAME:TAG")
    if len(entries) == 1:
        return entries[0]
    message = f"{source.what} holds {len(entries)} images: {tags}"
    raise shell.SkillError("usage", message, hint="choose one: docker-archive:PATH@NAME:TAG")


def _layers(entry: dict[str, Any], config: dict[str, Any], source: Files, packed: Packed) -> list[Blob]:
    names = entry.get("Layers")
    rootfs = config.get("rootfs")
    plain = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(names, list) or not isinstance(plain, list) or len(names) != len(plain) or len(names) > MAX_BLOBS:
        raise unusable(source.what, "the layers of manifest.json are not those of its config")
    done: dict[str, tuple[Blob, str]] = {}
    layers = []
    for number, (name, digest) in enumerate(zip(names, plain, strict=True), start=1):
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise unusable(source.what, f"{str(digest)[:80]!r} is not a valid SHA-256 digest")
        if digest not in done:
            shell.progress(f"layer {number}/{len(names)} {digest[7:19]}: read and compressed here")
            done[digest] = _layer(_text(name, source), source, packed)
        blob, found = done[digest]
        if found and found != digest:
            raise unusable(source.what, f"layer {number} has the digest {found}, its config says {digest}")
        layers.append(blob)
    return layers


def _layer(name: str, source: Files, packed: Packed) -> tuple[Blob, str]:
    """(the layer as it is sent, digest of its plain bytes or '' where it came as zstd)."""
    if (resolved := source.resolve(name)) in packed:
        return packed[resolved]
    part = source.find(name)
    if part is None:
        raise unusable(source.what, f"it has no layer {name[:100]}")
    return pack(part)


def pack(part: Part) -> tuple[Blob, str]:
    """A layer that lies in a file: compressed, or as it is where it is compressed already."""
    kind = media_type(part.at(0, 4))
    if kind is None:
        return compressed(pieces(Cursor(part).read))
    digest = hashlib.sha256()
    for piece in pieces(Cursor(part).read):
        digest.update(piece)
    blob = Blob("sha256:" + digest.hexdigest(), part.size, kind, part)
    return blob, unpacked_digest(Cursor(part), f"layer {blob.digest}") if kind == OCI_LAYER_GZIP else ""


class Cursor(io.RawIOBase):
    """Reads a part from its beginning to its end."""

    def __init__(self, part: Part) -> None:
        self.part, self.position = part, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.part.at(self.position, len(buffer))
        buffer[: len(data)] = data
        self.position += len(data)
        return len(data)


def _text(value: Any, source: Files) -> str:
    if isinstance(value, str) and value:
        return value
    raise unusable(source.what, "manifest.json names no config, or a layer without a name")
