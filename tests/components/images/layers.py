"""A layer of an image as it lies in the cache: `layer.tar.gz`, and `layer.json` with its digests."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path

CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    path: Path
    """Compressed."""
    digest: str
    """Of the compressed file, which a manifest names: `sha256:...`."""
    size: int
    diff_id: str
    """Of the tar inside, which a configuration names."""


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def of_tar(tar: Path, folder: Path) -> Layer:
    """Compress a tar into `folder`, which is made. The same tar gives the same bytes."""
    folder.mkdir(exist_ok=True)
    packed = folder / "layer.tar.gz"
    with tar.open("rb") as source, packed.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as target:
        shutil.copyfileobj(source, target, CHUNK)
    layer = Layer(packed, digest_of(packed), packed.stat().st_size, digest_of(tar))
    (folder / "layer.json").write_text(json.dumps(asdict(layer) | {"path": packed.name}))
    return layer


def of_file(program: Path, place: str, folder: Path) -> Layer:
    """A layer that holds one program."""
    folder.mkdir()
    tar = folder / "layer.tar"
    with tarfile.open(tar, "w") as archive:
        entry = archive.gettarinfo(program, place)
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        with program.open("rb") as file:
            archive.addfile(entry, file)
    layer = of_tar(tar, folder)
    tar.unlink()
    return layer


def read(folder: Path) -> Layer:
    said = json.loads((folder / "layer.json").read_text())
    return Layer(**said | {"path": folder / said["path"]})
