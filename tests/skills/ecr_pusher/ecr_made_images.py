"""Small images as archives: OCI layouts and what `docker save` of Docker 20 and 25 writes; each can be spoiled on the way."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OCI = "application/vnd.oci.image"
Files = dict[str, bytes]


@dataclass(frozen=True)
class Made:
    path: Path
    digest: str
    """Of the manifest; of the config, where there is none."""
    layers: tuple[str, ...] = ()
    """Digests, as they are sent."""

    @property
    def word(self) -> str:
        return f"oci:{self.path}"


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(content: bytes, name: str = "file") -> bytes:
    """A tar with one file, the same bytes each time."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def described(data: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": f"{OCI}.{kind}", "digest": sha(data), "size": len(data)}


def config(layers: Sequence[bytes], arch: str = "amd64") -> bytes:
    rootfs = {"type": "layers", "diff_ids": [sha(each) for each in layers]}
    return json.dumps({"architecture": arch, "os": "linux", "config": {}, "rootfs": rootfs}).encode()


def oci_files(contents: Sequence[bytes], arch: str = "amd64") -> tuple[Files, bytes]:
    """(files of a layout without its index, manifest)."""
    plain = [layer(each) for each in contents]
    packed = [gzip.compress(each, 1, mtime=0) for each in plain]
    setting = config(plain, arch)
    body = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": described(setting, "config.v1+json"),
        "layers": [described(each, "layer.v1.tar+gzip") for each in packed],
    }
    manifest = json.dumps(body, indent=2).encode()  # not as we would write it: the bytes must stay
    return {blob(sha(each)): each for each in (*packed, setting, manifest)}, manifest


def blob(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def index(*manifests: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": f"{OCI}.index.v1+json", "manifests": list(manifests)}).encode()


def oci(path: Path, contents: Sequence[bytes], spoil: Callable[[Files], None] | None = None) -> Made:
    """A tar, or a folder where the path has no suffix."""
    files, manifest = oci_files(contents)
    files |= {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index(described(manifest, "manifest.v1+json"))}
    if spoil:
        spoil(files)
    write(path, files)
    return Made(path, sha(manifest), tuple(each["digest"] for each in json.loads(manifest)["layers"]))


def two_platforms(path: Path) -> Made:
    """An index of an image for amd64 and one for arm64, as BuildKit writes it."""
    files: Files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    children = []
    for arch in ("amd64", "arm64"):
        more, manifest = oci_files([arch.encode()], arch)
        files |= more
        children.append({**described(manifest, "manifest.v1+json"), "platform": {"os": "linux", "architecture": arch}})
    inner = index(*children)
    files |= {blob(sha(inner)): inner, "index.json": index(described(inner, "index.v1+json"))}
    write(path, files)
    return Made(path, sha(inner))


def docker_archive(path: Path, contents: Sequence[bytes], spoil: Callable[[Files], None] | None = None) -> Made:
    """As `docker save` of Docker 20 writes it."""
    plain = [layer(each) for each in contents]
    setting = config(plain)
    names = [f"{sha(each)[7:]}/layer.tar" for each in plain]
    entry = {"Config": f"{sha(setting)[7:]}.json", "RepoTags": ["net:dev"], "Layers": names}
    files = dict(zip(names, plain, strict=True)) | {entry["Config"]: setting, "manifest.json": json.dumps([entry]).encode()}
    if spoil:
        spoil(files)
    write(path, files)
    return Made(path, sha(setting))


def newer_docker_archive(path: Path, contents: Sequence[bytes]) -> Made:
    """As `docker save` of Docker 25 writes it: an OCI layout too, whose manifest names plain layers."""
    plain = [layer(each) for each in contents]
    setting = config(plain)
    body = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": described(setting, "config.v1+json"),
        "layers": [described(each, "layer.v1.tar") for each in plain],
    }
    manifest = json.dumps(body).encode()
    entry = {"Config": blob(sha(setting)), "RepoTags": ["net:dev"], "Layers": [blob(sha(each)) for each in plain]}
    files = {blob(sha(each)): each for each in (*plain, setting, manifest)}
    files |= {"index.json": index(described(manifest, "manifest.v1+json")), "manifest.json": json.dumps([entry]).encode()}
    write(path, files)
    return Made(path, sha(setting))


def link_equal_layers(path: Path) -> None:
    """A second layer that is a link to the first, as Docker before 25 stores equal layers."""
    plain = layer(b"same")
    setting = config([plain, plain])
    entry = {"Config": "config.json", "RepoTags": ["net:dev"], "Layers": ["one/layer.tar", "two/layer.tar"]}
    write(path, {"one/layer.tar": plain, "config.json": setting, "manifest.json": json.dumps([entry]).encode()})
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("two/layer.tar")
        info.type, info.linkname = tarfile.SYMTYPE, "../one/layer.tar"
        tar.addfile(info)


def write(path: Path, files: Files) -> None:
    if not path.suffix:
        for name, data in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)
        return
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
