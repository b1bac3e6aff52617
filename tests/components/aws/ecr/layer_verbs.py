"""ECR's layer API: a layer comes in parts, in order, and can go on after its last whole part."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.components.aws.ecr import storage
from tests.components.aws.ecr.image_verbs import named
from tests.components.aws.ecr.images import Repository
from tests.components.aws.ecr.service import ECR
from tests.components.aws.wire.exchange import PIECE
from tests.components.aws.wire.json_service import Call
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import ACCOUNT, World

Document = dict[str, Any]
PART_BYTES = 10 << 20
LEAST_PART_BYTES = 5 << 20
"""Of every part but the last."""
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@ECR.verb
def initiate_layer_upload(call: Call) -> Document:
    named(call)
    upload = str(uuid.uuid4())
    file = upload_file(call, upload)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return {"uploadId": upload, "partSize": PART_BYTES}


def upload_file(call: Call, upload: str) -> Path:
    return call.world.folder / "layers" / str(uuid.UUID(upload))


def existing(call: Call) -> tuple[Repository, Path]:
    held, upload = named(call), call.request["uploadId"]
    file = upload_file(call, upload)
    if not file.exists():
        raise Refused(
            "UploadNotFoundException",
            f"Upload with id '{upload}' could not be found for the repository with name '{held.name}' "
            f"in the registry with id '{ACCOUNT}'",
        )
    return held, file


@ECR.verb
def upload_layer_part(call: Call) -> Document:
    held, file = existing(call)
    upload, first, last = call.request["uploadId"], call.request["partFirstByte"], call.request["partLastByte"]
    part, have = base64.b64decode(call.request["layerPartBlob"]), file.stat().st_size
    if first != have or last - first + 1 != len(part):
        raise Refused(
            "InvalidLayerPartException",
            f"Invalid layer part upload for upload with id '{upload}' in the repository with name '{held.name}' "
            f"in the registry with id '{ACCOUNT}'",
            registryId=ACCOUNT,
            repositoryName=held.name,
            uploadId=upload,
            lastValidByteReceived=max(have - 1, 0),
        )
    with file.open("ab") as layer:
        layer.write(part)
    call.world.part_bytes.setdefault(upload, []).append(len(part))
    return {"registryId": ACCOUNT, "repositoryName": held.name, "uploadId": upload, "lastByteReceived": last}


@ECR.verb
def complete_layer_upload(call: Call) -> Document:
    held, file = existing(call)
    upload, size = call.request["uploadId"], file.stat().st_size
    if not size:
        raise Refused("EmptyUploadException", f"Upload with id '{upload}' does not contain any layer parts")
    if any(part < LEAST_PART_BYTES for part in call.world.part_bytes[upload][:-1]):
        raise Refused("LayerPartTooSmallException", "Layer parts must be at least 5 MiB in size")
    with file.open("rb") as layer:
        digest = f"sha256:{hashlib.file_digest(layer, 'sha256').hexdigest()}"
    if digest not in call.request["layerDigests"]:
        raise Refused("InvalidLayerException", f"Layer with digest '{digest}' does not match {call.request['layerDigests']}")
    if storage.blob_size(call.world, held, digest) is not None:
        file.unlink()
        raise Refused(
            "LayerAlreadyExistsException",
            f"Layer with digest '{digest}' already exists in the repository with name '{held.name}'",
        )
    storage.put_blob(call.world, held, digest, size, pieces_of(file))
    file.unlink()
    return {"registryId": ACCOUNT, "repositoryName": held.name, "uploadId": upload, "layerDigest": digest}


def pieces_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as layer:
        while piece := layer.read(PIECE):
            yield piece


@ECR.verb
def batch_check_layer_availability(call: Call) -> Document:
    held = named(call)
    layers: list[Document] = []
    failures: list[Document] = []
    for digest in call.request["layerDigests"]:
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            reason = f"Invalid layer digest '{digest}'"
            failures.append({"layerDigest": digest, "failureCode": "InvalidLayerDigest", "failureReason": reason})
            continue
        size = storage.blob_size(call.world, held, digest)
        state = {"layerAvailability": "UNAVAILABLE"} if size is None else {"layerAvailability": "AVAILABLE", "layerSize": size}
        layers.append({"layerDigest": digest, "mediaType": LAYER_TYPE, **state})
    return {"layers": layers, "failures": failures}


@ECR.verb
def get_download_url_for_layer(call: Call) -> Document:
    held, digest = named(call), call.request["layerDigest"]
    if storage.blob_size(call.world, held, digest) is None:
        raise Refused(
            "LayersNotFoundException",
            f"Layer with digest '{digest}' does not exist in the repository with name '{held.name}'",
        )
    return {"downloadUrl": layer_url(call.world, held, digest), "layerDigest": digest}


def layer_url(world: World, held: Repository, digest: str) -> str:
    """Under another host name than the registry's, as S3's is: a client that sends its token there is refused."""
    return f"http://localhost:{world.port}/_layers/{held.place}/{digest}"
