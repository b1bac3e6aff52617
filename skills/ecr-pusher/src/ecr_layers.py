"""Blobs and manifests into a repository through ECR's API: layers in parts, so that a broken one goes on at the last whole part."""

from __future__ import annotations

import hashlib

import trainyard_aws as aws
import trainyard_shell as shell
from ecr_region import Region
from push_patience import AGAIN, Patience
from push_progress import Progress
from pushed.image import INDEXES, MANIFESTS, Blob, Manifest, damaged
from registry_http import TagTaken

MAX_PART_BYTES, MIN_PART_BYTES = 20 << 20, 5 << 20
THERE = {"LayerAlreadyExistsException"}
GONE = {"UploadNotFoundException", "InvalidLayerException", "LayerPartTooSmallException", "EmptyUploadException"}
ACCEPT = [*MANIFESTS, *INDEXES]


class ApiWay:
    """`--via api`."""

    def __init__(self, region: Region, patience: Patience) -> None:
        self.region, self.patience = region, patience

    def has(self, digest: str) -> bool:
        with self.region.asking("look for a layer"):
            found = self.region.client.batch_check_layer_availability(
                repositoryName=self.region.repository, layerDigests=[digest]
            )
        return any(each.get("layerAvailability") == "AVAILABLE" for each in found.get("layers", []))

    def send(self, blob: Blob, progress: Progress) -> str:
        """Raises SkillError."""
        for attempt in range(self.patience.tries):
            try:
                self._send(blob, progress)
                return "sent"
            except aws.AwsError as error:
                if error.reason in THERE:
                    return "sent"
                if error.reason not in GONE or attempt + 1 == self.patience.tries:
                    raise
                progress.state(blob, f"broken ({error.reason}), try {attempt + 2}")
                self.patience.pause(attempt)
        raise AssertionError("the loop returns or raises")

    def _send(self, blob: Blob, progress: Progress) -> None:
        client, name = self.region.client, self.region.repository
        progress.begin(blob)
        with self.region.asking("begin a layer"):
            begun = client.initiate_layer_upload(repositoryName=name)
        size, position, sha = min(int(begun["partSize"]), MAX_PART_BYTES), 0, hashlib.sha256()
        for data in blob.chunks(max(size, MIN_PART_BYTES)):
            sha.update(data)
            if position + len(data) == blob.size and "sha256:" + sha.hexdigest() != blob.digest:
                raise damaged(blob.digest)
            self._part(blob, begun["uploadId"], position, data, progress)
            position += len(data)
        with self.region.asking("end a layer"):
            client.complete_layer_upload(repositoryName=name, uploadId=begun["uploadId"], layerDigests=[blob.digest])

    def _part(self, blob: Blob, upload: str, first: int, data: bytes, progress: Progress) -> None:
        """boto3 tries a few times within seconds; behind that the same part again, until its tries are spent."""
        for attempt in range(self.patience.tries):
            self.patience.check()
            try:
                with self.region.asking("send a part of a layer"):
                    self.region.client.upload_layer_part(
                        repositoryName=self.region.repository,
                        uploadId=upload,
                        partFirstByte=first,
                        partLastByte=first + len(data) - 1,
                        layerPartBlob=data,
                    )
                progress.moved(blob, len(data))
                return
            except aws.AwsError as error:
                if error.reason == "InvalidLayerPartException":  # it had come in; the digest at the end would show if not
                    progress.moved(blob, len(data))
                    return
                if not error.retryable or attempt + 1 == self.patience.tries:
                    raise
                progress.state(blob, f"broken ({error.reason}), goes on at byte {first}")
                self.patience.pause(attempt)

    def manifest(self, word: str) -> Manifest | None:
        return manifest(self.region, word)

    def put(self, manifest: Manifest, tag: str | None) -> None:
        put(self.region, manifest, tag)

    def close(self) -> None:
        """The client is the region's."""


def manifest(region: Region, word: str) -> Manifest | None:
    """Of the image under a tag or a digest, byte for byte; None where there is none. Raises SkillError.

    All media types are accepted: else ECR converts, and the bytes are not those of the digest.
    """
    image_id = {"imageDigest": word} if word.startswith("sha256:") else {"imageTag": word}
    with region.asking("read a manifest"):
        found = region.client.batch_get_image(**region.named, imageIds=[image_id], acceptedMediaTypes=ACCEPT)
    for each in found.get("images", []):
        read, said = Manifest(str(each["imageManifest"]).encode(), str(each.get("imageManifestMediaType", ""))), each["imageId"]
        if said.get("imageDigest", read.digest) != read.digest:
            kind = shell.clean(read.media_type, 120)
            message = (
                f"ECR gives {region.repository}:{word} as {kind}, which has not the bytes of its digest {said['imageDigest']}"
            )
            raise shell.SkillError("conflict", message, hint="it is of a kind that is not handled here: build and push it anew")
        return read
    failure: dict[str, object] = next(iter(found.get("failures", [])), {})
    code = str(failure.get("failureCode", ""))
    if code in ("ImageNotFound", "ImageTagDoesNotMatchDigest", ""):
        return None
    message = f"ECR does not give the manifest of {word}: {code} {failure.get('failureReason', '')}"
    raise shell.SkillError("unreachable" if code.startswith("Upstream") else "conflict", shell.clean(message), hint=AGAIN)


def put(region: Region, found: Manifest, tag: str | None) -> None:
    """The manifest under a tag, or its digest alone; it may be there already. Raises TagTaken, SkillError."""
    words = {"imageTag": tag} if tag else {}
    try:
        with region.asking(f"put the tag {tag}" if tag else "put a manifest"):
            region.client.put_image(
                repositoryName=region.repository,
                imageManifest=found.raw.decode(),
                imageManifestMediaType=found.media_type,
                imageDigest=found.digest,
                **words,
            )
    except aws.AwsError as error:
        if error.reason == "ImageAlreadyExistsException":
            return
        if error.reason in ("LayersNotFoundException", "ReferencedImagesNotFoundException"):
            raise shell.SkillError("unreachable", str(error), hint=AGAIN, retryable=True) from error
        if error.reason == "ImageTagAlreadyExistsException":
            raise TagTaken("conflict", str(error), hint="another tag: an immutable one keeps its image") from error
        raise
