"""An image in ECR: manifests and configs are read at once, layers while they are sent on, in pieces and never whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import ecr_layers
import push_names
import trainyard_aws as aws
import trainyard_shell as shell
from ecr_region import MAX_JOBS, Region, connect
from push_names import Reference
from push_patience import AGAIN, Patience
from pushed.image import Blob, Descriptor, Home, Image, Manifest, damaged
from pushed.oci_layout import gathered
from registry_http import CONNECT_S, READ_S, Broken, session, told

PIECE_BYTES = 64 << 10


def is_in_ecr(word: str) -> bool:
    """Whether a name begins with the host of an account's registry."""
    found = push_names.REGISTRY.fullmatch(word.partition("/")[0])
    return bool(found and found["account"])


def region_of(wanted: Reference, from_region: str | None) -> str | None:
    """The region that has the image; None: the default one. Raises SkillError usage."""
    said = next(iter(wanted.regions), None)
    if wanted.host and not said and not push_names.is_loopback(wanted.host):
        message = f"{shell.clean(wanted.host, 100)} is not the host of an account's registry in ECR"
        raise shell.SkillError("usage", message, hint="ecr:ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG, or ecr:NAME:TAG")
    if said and from_region not in (None, said):
        message = f"the image is in {said} by its name, and in {from_region} by --from-region"
        raise shell.SkillError("usage", message, hint="without --from-region, or ecr:NAME:TAG with it")
    return said or from_region


@contextmanager
def read(wanted: Reference, from_region: str | None, patience: Patience) -> Iterator[Image]:
    """The image, readable until the block ends. Raises SkillError."""
    try:
        region = connect(region_of(wanted, from_region), wanted.repository)
    except aws.AwsError as error:
        if error.reason != "NoRegionError":
            raise
        message = "the region that has the image is not known"
        raise shell.SkillError("usage", message, hint="--from-region us-east-1, or set AWS_REGION") from error
    region.account = wanted.account
    source = _InEcr(region, patience)
    try:
        top = source.get(wanted.word)
        if top is None:
            raise _missing(region, wanted.word)
        found = gathered(source, Descriptor(top.digest, len(top.raw), top.media_type))
        yield replace(found, home=Home(region.name, region.account, region.repository))
    finally:
        source.close()


def _missing(region: Region, word: str) -> shell.SkillError:
    hint = f"push_image.py tags {region.repository} --region {region.name}; is it in another region? --from-region"
    return shell.SkillError("not-found", f"{region.repository} in {region.name} has no image {word}", hint=hint)


class _InEcr:
    """The parts of an image in a repository."""

    def __init__(self, region: Region, patience: Patience) -> None:
        self.region, self.patience = region, patience
        self.what = f"the image of {region.repository} in {region.name}"
        is_local = push_names.is_loopback(urlsplit(region.client.meta.endpoint_url).netloc)
        self.session = session(MAX_JOBS, is_local=is_local)
        self.layers: list[_Layer] = []
        self.known: dict[str, Manifest] = {}

    def get(self, word: str) -> Manifest | None:
        try:
            found = ecr_layers.manifest(self.region, word)
        except aws.AwsError as error:
            if error.reason == "RepositoryNotFoundException":
                message = f"there is no repository {self.region.repository} in {self.region.name}"
                hint = "is it in another region? --from-region; is it of another account? AWS_PROFILE"
                raise shell.SkillError("not-found", message, hint=hint) from error
            raise
        if found:
            self.known[found.digest] = found
        return found

    def manifest(self, digest: str) -> bytes:
        found = self.known.get(digest) or self.get(digest)
        if found is None:
            raise _missing(self.region, digest)
        if found.digest != digest:
            raise damaged(digest)
        return found.raw

    def blob(self, named: Descriptor) -> Blob:
        self.layers.append(_Layer(self, named.digest))
        return Blob(named.digest, named.size, named.media_type, self.layers[-1])

    def close(self) -> None:
        for layer in self.layers:
            layer.close()
        self.session.close()


class _Layer:
    """A blob, read from one answer of S3 as long as the next bytes are wanted; one that breaks goes on at its byte with another."""

    def __init__(self, source: _InEcr, digest: str) -> None:
        self.source, self.digest = source, digest
        self.answer: Any = None
        self.pieces: Iterator[bytes] = iter(())
        self.rest = b""
        """Of a piece that was read."""
        self.position = 0
        """Of the next byte."""

    def at(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes. Raises SkillError."""
        found, patience = bytearray(), self.source.patience
        for attempt in range(patience.tries):
            try:
                self._fill(found, offset, size)
                return bytes(found)
            except Broken as error:
                self.close()
                where = f"{self.digest} from {self.source.region.name}"
                if attempt + 1 == patience.tries:
                    message = f"layer {where} broke off {patience.tries} times: {error}"
                    raise shell.SkillError("unreachable", message, hint=AGAIN, retryable=True) from error
                shell.progress(f"layer {where} broken ({error}), goes on at byte {offset + len(found)}")
                patience.pause(attempt)
        raise AssertionError("the loop returns or raises")

    def _fill(self, found: bytearray, offset: int, size: int) -> None:
        """Raises Broken."""
        import requests

        try:
            while (left := size - len(found)) > 0:
                self.source.patience.check()
                if self.answer is None or self.position != offset + len(found):
                    self._open(offset + len(found))
                self.rest = self.rest or next(self.pieces, b"")
                if not self.rest:
                    raise Broken(f"it ended at byte {self.position}")
                piece, self.rest = self.rest[:left], self.rest[left:]
                found += piece
                self.position += len(piece)
        except (requests.exceptions.RequestException, OSError) as error:
            raise Broken(told(error)) from error

    def _open(self, offset: int) -> None:
        """Another answer, from this byte on. Its address is signed and ends after a while, so each has its own."""
        self.close()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        # `auth`: requests would look into ~/.netrc
        self.answer = self.source.session.get(
            self._address(),
            headers=headers,
            auth=lambda request: request,
            timeout=(CONNECT_S, READ_S),
            allow_redirects=False,
            stream=True,
        )
        if self.answer.status_code != (206 if offset else 200):
            raise Broken(f"the layer's address answered {self.answer.status_code}")
        self.pieces, self.position = self.answer.iter_content(PIECE_BYTES), offset

    def _address(self) -> str:
        region = self.source.region
        try:
            with region.asking("read a layer"):
                found = region.client.get_download_url_for_layer(**region.named, layerDigest=self.digest)
        except aws.AwsError as error:
            if error.reason != "LayersNotFoundException":
                raise
            message = f"{self.source.what} is not whole: ECR has no {self.digest}"
            raise shell.SkillError("not-found", message, hint="build it again, or push it there again") from error
        url = str(found["downloadUrl"])
        parts = urlsplit(url)
        if parts.scheme != "https" and not push_names.is_loopback(parts.netloc):
            message = f"ECR in {region.name} gives an address without TLS"
            raise shell.SkillError("unreachable", message, hint="a proxy that changes answers?")
        return url

    def close(self) -> None:
        if self.answer is not None:
            self.answer.close()
            self.answer, self.rest = None, b""
