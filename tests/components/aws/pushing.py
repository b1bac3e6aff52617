"""The distribution protocol by hand, for tests: a blob, an image of one layer, and what the registry said to each."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.components.aws.running import Aws

if TYPE_CHECKING:
    import pytest
    from botocore.exceptions import ClientError

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Pusher:
    """One token; `repository` is a URI as DescribeRepositories has it."""

    def __init__(
        self, aws: Aws, repository: str, *, environment: dict[str, str] | None = None, region: str | None = None
    ) -> None:
        self.host, _, self.name = repository.partition("/")
        data = aws.client("ecr", region, environment).get_authorization_token()["authorizationData"][0]
        self.user, _, self.password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        self.authorization = f"Basic {data['authorizationToken']}"

    def ask(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream", *, token: bool = True
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body. `path` is a URL, an absolute path or one below the repository."""
        if not path.startswith(("/", "http")):
            path = f"/v2/{self.name}/{path}"
        parts = urlsplit(path)
        connection = http.client.HTTPConnection(parts.netloc or self.host, timeout=60)
        headers = {"Content-Type": kind} | ({"Authorization": self.authorization} if token else {})
        try:
            connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def blob(self, data: bytes) -> str:
        """Its digest. Raises AssertionError where the registry refuses."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        status, headers, said = self.ask("POST", "blobs/uploads/")
        assert status == 202, said
        status, headers, said = self.ask("PATCH", headers["location"], data)
        assert status == 202, said
        place = headers["location"]
        status, headers, said = self.ask("PUT", f"{place}{'&' if '?' in place else '?'}digest={digest}")
        assert status == 201, said
        return digest

    def manifest(self, layer: bytes, *, upload: bool = True) -> bytes:
        """Of an image with this layer, whose blobs are uploaded."""
        parts = [(CONFIG, b"{}"), (LAYER, layer)]
        described: list[dict[str, Any]] = []
        for kind, data in parts:
            digest = self.blob(data) if upload else f"sha256:{hashlib.sha256(data).hexdigest()}"
            described.append({"mediaType": kind, "digest": digest, "size": len(data)})
        return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}).encode()

    def push(self, layer: bytes, tag: str) -> tuple[int, dict[str, str], bytes]:
        """The registry's answer to the manifest."""
        return self.ask("PUT", f"manifests/{tag}", self.manifest(layer), MANIFEST)


def make_repository(aws: Aws, name: str = "team/trainer", region: str | None = None, **options: Any) -> str:
    """A repository; its URI."""
    return str(aws.client("ecr", region).create_repository(repositoryName=name, **options)["repository"]["repositoryUri"])


def code_of(raised: pytest.ExceptionInfo[ClientError]) -> str:
    return str(raised.value.response["Error"]["Code"])
