"""Put an image into a registry without an engine: layers from the cache, a configuration of the moment."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tests.components.images.layers import Layer
from tests.components.images.registry import Registry

OCI = "application/vnd.oci.image"


def push_blob(registry: Registry, name: str, digest: str, content: bytes) -> None:
    with registry.ask("POST", f"{name}/blobs/uploads/") as answer:
        place = answer.headers["Location"]
    joined = "&" if "?" in place else "?"
    registry.ask("PUT", f"{place}{joined}digest={digest}", content, Content_Type="application/octet-stream").close()


def configuration(layers: Sequence[Layer], config: dict[str, Any]) -> bytes:
    rootfs = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    history = [{"created_by": "trainyard"}] * len(layers)
    return json.dumps({"architecture": "amd64", "os": "linux", "config": config, "rootfs": rootfs, "history": history}).encode()


def described(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": f"{OCI}.{kind}", "digest": digest, "size": size}


def push(registry: Registry, name: str, tag: str, layers: Sequence[Layer], config: dict[str, Any]) -> str:
    """The digest of the image. `config` is what `docker inspect` shows under Config: Env, Cmd, Labels."""
    for layer in layers:
        if not registry.holds(name, layer):
            push_blob(registry, name, layer.digest, layer.path.read_bytes())
    content = configuration(layers, config)
    config_digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    push_blob(registry, name, config_digest, content)
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{OCI}.manifest.v1+json",
        "config": described("config.v1+json", config_digest, len(content)),
        "layers": [described("layer.v1.tar+gzip", layer.digest, layer.size) for layer in layers],
    }
    body = json.dumps(manifest).encode()
    with registry.ask("PUT", f"{name}/manifests/{tag}", body, Content_Type=f"{OCI}.manifest.v1+json") as answer:
        return answer.headers["Docker-Content-Digest"]
