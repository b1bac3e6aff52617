"""What `docker save` writes: plain layers and a config, of which the manifest is made here.

Source: the image specification v1.2 of Docker (manifest.json with Config and Layers). From Docker 25 on the archive is an OCI layout too;
where its own manifest names compressed layers (the containerd store), that one is pushed as it is.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import trainyard_files as files
import trainyard_shell as shell
from push_names import DIGEST
from pushed.layer import Part, compressed, kept, media_type, pieces
from pushed.image import (
    MANIFESTS,
    MAX_BLOBS,
    OCI_CONFIG,
    OCI_MANIFEST,
    Blob,
    Image,
    Manifest,
    canonical,
    contents,
    descriptors,
    digest_of,
    once,
    parse,
    platform_of,
    unusable,
)
from pushed.oci_layout import Files, blob_name, document, read

Packed = dict[str, tuple[Blob, str]]
"""Layers that were compressed while they came in: file in the archive -> (blob, digest of the plain bytes)."""


def image(source: Files, name: str | None = None, packed: Packed | None = None) -> Image:
    """The image of an archive, its layers compressed. `name`: which, where there are several. Raises SkillError usage, not-found."""
    if has_own_manifest(source):
        return read(source)
    entry = _entry(source, name)
    raw = document(source, _text(entry.get("Config"), source))
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


def has_own_manifest(source: Files) -> bool:
    """Whether it is an OCI layout of one image whose layers are compressed and all there."""
    if source.find("index.json") is None:
        return False
    index = parse(document(source, "index.json"), f"index.json of {source.what}")
    tops = descriptors(index, "manifests", source.what)
    if len({each.digest for each in tops}) != 1 or tops[0].media_type not in MANIFESTS:
        return False
    if source.find(blob_name(tops[0].digest)) is None:
        return False
    body = parse(document(source, blob_name(tops[0].digest)), f"manifest {tops[0].digest}")
    _, *layers = contents(body, f"manifest {tops[0].digest}")
    there = [source.find(blob_name(each.digest)) for each in layers]
    return all(part is not None and media_type(part.at(0, 4)) for part in there)


def _entry(source: Files, name: str | None) -> dict[str, Any]:
    """The image's entry in manifest.json."""
    try:
        found = files.parse(document(source, "manifest.json"))
    except files.Unusable as error:
        raise unusable(f"manifest.json of {source.what}", str(error)) from error
    entries = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    if name is not None and len(entries) > 1:
        entries = [each for each in entries if name in (each.get("RepoTags") or [])]
        if not entries:
            raise shell.SkillError(
                "not-found", f"{source.what} has no image {name}", hint="leave the name out to see which it has"
            )
    if len(entries) == 1:
        return entries[0]
    tags = [tag for each in entries for tag in each.get("RepoTags") or []]
    if not entries:
        raise unusable(source.what, "its manifest.json names no image")
    message = f"{source.what} holds {len(entries)} images: {json.dumps(tags[:8])}"
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
    """(the layer as it is sent, digest of its plain bytes or '' where it came compressed)."""
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
    return Blob("sha256:" + digest.hexdigest(), part.size, kind, part), ""


class Cursor:
    """Reads a part from its beginning to its end."""

    def __init__(self, part: Part) -> None:
        self.part, self.position = part, 0

    def read(self, size: int) -> bytes:
        data = self.part.at(self.position, size)
        self.position += len(data)
        return data


def _text(value: Any, source: Files) -> str:
    if isinstance(value, str) and value:
        return value
    raise unusable(source.what, "manifest.json names no config, or a layer without a name")
