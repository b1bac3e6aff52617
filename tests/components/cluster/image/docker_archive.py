"""docker_archive.py ROOTFS.tar OUT.tar IMAGES.json: images that share one root file system, as `ctr images import` takes them.

IMAGES.json maps NAME:TAG to what an image's configuration says beside the file system (Env, WorkingDir, Entrypoint, Cmd).
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any


def configuration(layer_digest: str, config: dict[str, Any]) -> bytes:
    layers = {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]}
    history = [{"created_by": "trainyard"}]
    return json.dumps({"architecture": "amd64", "os": "linux", "config": config, "rootfs": layers, "history": history}).encode()


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def pack(rootfs: str, output: str, images: dict[str, dict[str, Any]]) -> None:
    with open(rootfs, "rb") as file:
        layer_digest = hashlib.file_digest(file, "sha256").hexdigest()
    manifest = []
    with tarfile.open(output, "w") as archive:
        for image, config in images.items():
            content = configuration(layer_digest, config)
            name = hashlib.sha256(content).hexdigest() + ".json"
            add(archive, name, content)
            manifest.append({"Config": name, "RepoTags": [image], "Layers": ["layer.tar"]})
        add(archive, "manifest.json", json.dumps(manifest).encode())
        archive.add(rootfs, "layer.tar")


if __name__ == "__main__":
    pack(sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text()))
