"""A region's registry: the distribution protocol as ECR serves it, in front of docker-registry.

docker-registry keeps blobs and checks manifests; which repositories and tags there are, and what may be done, is decided here.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http.client import HTTPResponse
from typing import Any
from urllib.parse import parse_qs, urlencode

from tests.components.aws.ecr import storage
from tests.components.aws.ecr.cuts import CutError
from tests.components.aws.ecr.image_verbs import image_of
from tests.components.aws.ecr.images import Image, Repository, repository
from tests.components.aws.ecr.layer_verbs import layer_url
from tests.components.aws.iam import guard
from tests.components.aws.iam.caller import Caller
from tests.components.aws.wire import passing
from tests.components.aws.wire.exchange import BrokenBodyError, Exchange
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import ACCOUNT, World

ROUTE = re.compile(
    r"/v2/(?P<name>.+?)/(?:manifests/(?P<reference>[^/]+)|blobs/uploads/(?P<upload>[^/]*)|blobs/(?P<blob>[^/]+)"
    r"|tags/(?P<tags>list)|referrers/(?P<subject>[^/]+))"
)
MANIFEST_BYTES = 4 << 20
TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,299}")


class RegistryError(Exception):
    """An error of the distribution protocol."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()


def action_of(method: str, found: Mapping[str, str | None]) -> str:
    """What a policy must allow for a request of the protocol.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
    """
    if found["upload"] is not None:
        return {"POST": "ecr:InitiateLayerUpload", "PUT": "ecr:CompleteLayerUpload"}.get(method, "ecr:UploadLayerPart")
    if found["blob"]:
        return "ecr:BatchCheckLayerAvailability" if method == "HEAD" else "ecr:GetDownloadUrlForLayer"
    if found["tags"]:
        return "ecr:ListImages"
    return "ecr:PutImage" if method == "PUT" else "ecr:BatchGetImage"


class Registry(Exchange):
    world: World
    region: str

    def serve(self) -> None:
        cut = self.world.cuts.for_request(self.command, self.path)
        self.cut = cut
        try:
            if cut is not None and self.command in ("GET", "HEAD"):
                self.world.cuts.strike(cut)
            self.handle_request()
        except RegistryError as error:
            self.refuse(error)
        except Refused as refused:
            self.refuse(of_protocol(refused))
        except (CutError, BrokenBodyError):
            self.hang_up()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def refuse(self, error: RegistryError) -> None:
        self.drain()
        self.answer(error.status, {"Content-Type": "application/json; charset=utf-8", **error.headers}, error.body)

    def handle_request(self) -> None:
        caller = self.caller()
        if self.route in ("/v2", "/v2/"):
            self.answer(200, {"Content-Type": "application/json", "Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
            return
        found = ROUTE.fullmatch(self.route)
        if not found:
            raise RegistryError(404, "UNSUPPORTED", "The operation is unsupported.")
        name = found["name"]
        arn = f"arn:aws:ecr:{self.region}:{ACCOUNT}:repository/{name}"
        action = action_of(self.command, found.groupdict())
        self.world.failures.strike(action)
        guard.allow(self.world, caller, action, arn)
        held = repository(self.world, self.region, name)
        if found["reference"]:
            self.manifest(held, found["reference"])
        elif found["tags"]:
            tags = sorted(tag for image in held.images.values() for tag in image.tags)
            self.answer(200, {"Content-Type": "application/json"}, json.dumps({"name": name, "tags": tags}).encode())
        elif found["subject"]:
            self.referrers(held, found["subject"])
        else:
            self.blob(held, upload=found["upload"] is not None)

    def caller(self) -> Caller:
        """Whose token this is. Raises RegistryError for none, an unknown one and an expired one."""
        token = self.world.tokens.of(self.headers.get("Authorization", ""))
        challenge = {
            "WWW-Authenticate": f'Basic realm="http://{self.world.registry_host(self.region)}/",service="ecr.amazonaws.com"',
            "Docker-Distribution-Api-Version": "registry/2.0",
        }
        if token is None:
            raise RegistryError(401, "UNAUTHORIZED", "no basic auth credentials", challenge)
        if not token.holds():
            text = "Your authorization token has expired. Reauthenticate and try again."
            raise RegistryError(self.world.tokens.expired_status, "DENIED", text, challenge)
        token.requests_left -= 1
        return Caller(token.caller.key, self.region, "ecr")

    def manifest(self, held: Repository, reference: str) -> None:
        if self.command == "PUT":
            self.put_manifest(held, reference)
            return
        by_digest = reference.startswith("sha256:")
        image = held.find(None if by_digest else reference, reference if by_digest else None)
        if image is None:
            text = f"Requested image not found: {{imageTag='{reference}', repositoryName='{held.name}'}}"
            raise RegistryError(404, "MANIFEST_UNKNOWN", text)
        if self.command not in ("GET", "HEAD"):
            raise RegistryError(405, "UNSUPPORTED", "The operation is unsupported.")
        headers = {"Content-Type": image.media_type, "Docker-Content-Digest": image.digest}
        self.answer(200, headers | {"Content-Length": str(len(image.manifest))}, image.manifest)

    def put_manifest(self, held: Repository, reference: str) -> None:
        body = b"".join(self.world.cuts.apply(self.cut, [self.body(MANIFEST_BYTES)]))
        image = image_of(body, self.headers.get("Content-Type", "").partition(";")[0] or None)
        tag = None if reference.startswith("sha256:") else reference
        if tag is None and reference != image.digest:
            raise RegistryError(400, "DIGEST_INVALID", f"The digest {reference} is not that of the manifest, {image.digest}")
        if tag is not None:
            refuse_tag(held, image, tag)
        status, said = storage.put_manifest(self.world, held, image)
        if status != 201:
            self.answer(status, {"Content-Type": "application/json"}, said)
            return
        held.put(image, tag)
        location = f"/v2/{held.name}/manifests/{image.digest}"
        self.answer(201, {"Location": location, "Docker-Content-Digest": image.digest})

    def referrers(self, held: Repository, subject: str) -> None:
        found = [image for image in held.images.values() if image.document.get("subject", {}).get("digest") == subject]
        manifests = [{"mediaType": each.media_type, "digest": each.digest, "size": len(each.manifest)} for each in found]
        kind = "application/vnd.oci.image.index.v1+json"
        body = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode()
        self.answer(200, {"Content-Type": kind}, body)

    def blob(self, held: Repository, *, upload: bool) -> None:
        """Passed on to docker-registry; mounts only where the account has switched them on."""
        if self.command in ("GET", "HEAD") and not upload:
            self.layer(held)
            return
        query = parse_qs(self.query)
        if self.command == "POST" and "mount" in query:
            query = self.mount_query(query)
        path = self.path.partition("?")[0].replace(f"/v2/{held.name}/", f"/v2/{held.place}/", 1)
        path += f"?{urlencode(query, doseq=True)}" if query else ""
        headers = {name: value for name, value in passing.request_headers(self).items() if name.lower() != "authorization"}
        body = self.world.cuts.apply(self.cut, self.pieces())
        with passing.asked(self.world.storage_port, self.command, path, headers, body) as answer:
            passing.pass_back(self, answer, here(answer, held), passing.answer_pieces(answer))

    def mount_query(self, query: dict[str, list[str]]) -> dict[str, list[str]]:
        """`from` as docker-registry knows it; without mounting the upload is an ordinary one."""
        source = self.world.repositories.get((self.region, query.get("from", [""])[0]))
        switched_on = self.world.account_settings.get((self.region, "BLOB_MOUNTING")) == "ENABLED"
        return {"mount": query["mount"], "from": [source.place]} if switched_on and source else {}

    def layer(self, held: Repository) -> None:
        """ECR keeps layers in S3 and sends the client there; HEAD it answers itself."""
        digest = self.route.rpartition("/")[2]
        size = storage.blob_size(self.world, held, digest)
        if size is None:
            raise RegistryError(404, "BLOB_UNKNOWN", f"blob unknown to registry: {digest}")
        if self.command == "HEAD":
            named = {"Content-Type": "application/octet-stream", "Docker-Content-Digest": digest}
            self.answer(200, named | {"Content-Length": str(size)})
            return
        self.answer(307, {"Location": layer_url(self.world, held, digest), "Docker-Content-Digest": digest})


def refuse_tag(held: Repository, image: Image, tag: str) -> None:
    if not TAG.fullmatch(tag):
        raise RegistryError(400, "TAG_INVALID", f"The image tag '{tag}' is invalid.")
    before = held.tagged(tag)
    if before and before.digest != image.digest and held.immutable(tag):
        raise RegistryError(400, "TAG_INVALID", held.tag_refusal(tag))


def here(answer: HTTPResponse, held: Repository) -> dict[str, str]:
    """docker-registry's headers, with the repository's own name in the location."""
    headers = passing.answer_headers(answer)
    if "Location" in headers:
        headers["Location"] = headers["Location"].replace(f"/v2/{held.place}/", f"/v2/{held.name}/", 1)
    return headers


def of_protocol(refused: Refused) -> RegistryError:
    """ECR's API errors as its registry words them."""
    if refused.code == "RepositoryNotFoundException":
        return RegistryError(404, "NAME_UNKNOWN", refused.message)
    if refused.code == "AccessDeniedException":
        return RegistryError(403, "DENIED", refused.message)
    if refused.code == "InvalidParameterException":
        return RegistryError(400, "MANIFEST_INVALID", refused.message)
    return RegistryError(refused.status, "UNKNOWN", refused.message)


def handler_for(world: World, region: str) -> Any:
    return type("RegistryOfRegion", (Registry,), {"world": world, "region": region})
