"""Blobs and manifests into a repository, over the OCI distribution protocol.

A layer goes in one PATCH. ECR drops the bytes of every PATCH after the first and still answers 201 (aws/containers-roadmap#2831), so a layer
that broke in its middle begins again; with `--via api` it goes on at the last whole part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import trainyard_shell as shell
from push_patience import Patience
from push_progress import Progress
from pushed.image import INDEXES, MANIFESTS, Blob, Manifest, damaged
from registry_http import MOVED, Answer, Broken, Registry

OCTETS = "application/octet-stream"
ACCEPT = ", ".join((*MANIFESTS, *INDEXES))


class Body:
    """A blob as the body of one request: read piece by piece, and verified before its last byte is sent."""

    def __init__(self, blob: Blob, patience: Patience, progress: Progress) -> None:
        self.blob, self.patience, self.progress = blob, patience, progress
        self.hash, self.position = hashlib.sha256(), 0

    def __len__(self) -> int:
        return self.blob.size

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read(65536):
            yield data

    def read(self, size: int = -1) -> bytes:
        self.patience.check()
        left = self.blob.size - self.position
        wanted = left if size < 0 else min(size, left)
        if not wanted:
            return b""
        data = self.blob.reader.at(self.position, wanted)
        if not data:
            raise shell.SkillError("usage", f"blob {self.blob.digest} is cut short", hint="was the archive changed meanwhile?")
        self.hash.update(data)
        self.position += len(data)
        if self.position == self.blob.size and "sha256:" + self.hash.hexdigest() != self.blob.digest:
            raise damaged(self.blob.digest)
        self.progress.moved(self.blob, len(data))
        return data


class RegistryWay:
    """`--via registry`: what `docker push` does."""

    def __init__(self, registry: Registry, mount_from: str = "") -> None:
        """`mount_from`: a repository of the same registry that has the blobs."""
        self.registry, self.patience, self.mount_from = registry, registry.patience, mount_from

    def has(self, digest: str) -> bool:
        # A registry that keeps blobs elsewhere may answer with a redirect; it does so only for what it has.
        found = self.registry.ask("HEAD", f"blobs/{digest}", ok={200, 404, *MOVED}, action="ecr:BatchCheckLayerAvailability")
        return found.status != 404

    def blob(self, digest: str) -> bytes | None:
        """A small one, as it is there; None where it is not. Raises SkillError unreachable."""
        for attempt in range(self.patience.tries):
            found = self.registry.ask("GET", f"blobs/{digest}", ok={200, 404, *MOVED}, action="ecr:GetDownloadUrlForLayer")
            if found.status == 404:
                return None
            try:
                return found.body if found.status == 200 else self.registry.elsewhere(found.headers.get("location", ""))
            except Broken as error:
                if attempt + 1 == self.patience.tries:
                    raise self.registry.unreachable("GET", str(error)) from error
                self.patience.pause(attempt)
        raise AssertionError("the loop returns or raises")

    def send(self, blob: Blob, progress: Progress) -> str:
        """What came of it, for `progress`. Raises SkillError; what was sent of a layer that fails stays in the registry for a while and is nobody's."""
        for attempt in range(self.patience.tries):
            try:
                return self._send(blob, progress)
            except Broken as error:
                is_last = attempt + 1 == self.patience.tries
                progress.state(blob, f"broken ({error})" + ("" if is_last else f", try {attempt + 2}"))
                if is_last:
                    raise self.registry.unreachable(f"layer {blob.digest}", str(error)) from error
                self.patience.pause(attempt)
                if self.has(blob.digest):  # only the answer was lost
                    return "sent"
        raise AssertionError("the loop returns or raises")

    def _begin(self, digest: str) -> Answer:
        """201: it is mounted. A registry that mounts nothing begins an upload, or refuses the words."""
        ask, action = self.registry.ask, "ecr:InitiateLayerUpload"
        if self.mount_from:
            words = urlencode({"mount": digest, "from": self.mount_from})
            begun = ask("POST", f"blobs/uploads/?{words}", ok={201, 202, 400, 403, 404}, action=action)
            if begun.status in (201, 202):
                return begun
        return ask("POST", "blobs/uploads/", ok={202}, action=action)

    def _send(self, blob: Blob, progress: Progress) -> str:
        once = self.registry.once
        progress.begin(blob)
        begun = self._begin(blob.digest)
        if begun.status == 201:
            return f"present (mounted from {self.mount_from})"
        body = Body(blob, self.patience, progress)
        words = {"Content_Type": OCTETS}
        # 201 is ECR's answer, 202 the specification's; 404: the registry has dropped the upload
        taken = once(
            "PATCH",
            begun.headers.get("location", ""),
            ok={201, 202, 404},
            action="ecr:UploadLayerPart",
            body=body if blob.size else b"",
            **words,
        )
        if taken.status == 404:
            raise Broken("the registry has dropped the upload")
        location = taken.headers.get("location", "") or begun.headers.get("location", "")
        location += ("&" if "?" in location else "?") + "digest=" + quote(blob.digest)
        done = once("PUT", location, ok={201, 204, 404}, action="ecr:CompleteLayerUpload", **words)
        if done.status == 404:
            raise Broken("the registry has dropped the upload")
        if done.headers.get("docker-content-digest", blob.digest) != blob.digest:
            raise Broken("the registry computed another digest")
        return "sent"

    def manifest(self, word: str) -> Manifest | None:
        """Under a tag or a digest; None where there is none. Raises SkillError."""
        found = self.registry.ask("GET", f"manifests/{word}", ok={200, 404}, action="ecr:BatchGetImage", Accept=ACCEPT)
        if found.status == 404:
            if found.error()[0] == "NAME_UNKNOWN":
                raise self.registry.refusal(found, "GET", "ecr:BatchGetImage")
            return None
        return Manifest(found.body, found.headers.get("content-type", "").partition(";")[0].strip())

    def put(self, manifest: Manifest, tag: str | None) -> None:
        """Under a tag, or its digest. Raises TagTaken, SkillError."""
        done = self.registry.ask(
            "PUT",
            f"manifests/{tag or manifest.digest}",
            ok={200, 201},
            action="ecr:PutImage",
            body=manifest.raw,
            Content_Type=manifest.media_type,
        )
        said = done.headers.get("docker-content-digest", manifest.digest)
        if said != manifest.digest:
            message = f"the registry gives the manifest the digest {shell.clean(said, 80)}, it has {manifest.digest}"
            raise shell.SkillError("unreachable", message, hint="a proxy that changes what is sent?")

    def close(self) -> None:
        self.registry.close()
