"""boto3's only endpoint: what is answered here, and the rest passed on to moto."""

from __future__ import annotations

import json
import re
import threading
import traceback
import uuid
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from tests.components.aws import bucket_policies, control
from tests.components.aws.codebuild import asking, projects, starting
from tests.components.aws.codebuild.service import CODEBUILD
from tests.components.aws.ecr import image_verbs, layer_verbs, registry, repositories
from tests.components.aws.ecr.cuts import CutError
from tests.components.aws.ecr.service import ECR
from tests.components.aws.iam import guard, signature
from tests.components.aws.iam.asked import Need, needs
from tests.components.aws.iam.caller import Caller, caller_of
from tests.components.aws.iam.policy import ALLOWED
from tests.components.aws.iam.rest import needs_of_request
from tests.components.aws.sagemaker import cluster_verbs, event_verbs, move_verbs, node_verbs, telling
from tests.components.aws.sagemaker.naming import with_arns
from tests.components.aws.sagemaker.service import SAGEMAKER
from tests.components.aws.wire import json_service, passing
from tests.components.aws.wire.exchange import BrokenBodyError, Exchange, Server
from tests.components.aws.wire.json_service import Call, JsonService
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import World

SERVICES: dict[str, JsonService] = {service.target: service for service in (ECR, CODEBUILD, SAGEMAKER)}
VERB_MODULES = (
    repositories,
    image_verbs,
    layer_verbs,
    projects,
    starting,
    asking,
    cluster_verbs,
    node_verbs,
    move_verbs,
    event_verbs,
    telling,
)
"""Importing them fills the services' verbs, and the control's."""
XML_CODES = {
    "AccessDeniedException": "AccessDenied",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "InvalidSignatureException": "SignatureDoesNotMatch",
}
NEW_KEY, NEW_SECRET = re.compile(r"<AccessKeyId>([^<]+)<"), re.compile(r"<SecretAccessKey>([^<]+)<")
ECR_HOST = re.compile(r"\d{12}\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")
LAYER = re.compile(r"/_layers/(?P<place>r\d+)/(?P<digest>sha256:[0-9a-f]{64})")


class Endpoint(Exchange):
    world: World

    def serve(self) -> None:
        try:
            self.handle_request()
        except Refused as refused:
            self.refuse(refused)
        except (CutError, BrokenBodyError):
            self.hang_up()
        except Exception as error:
            # A mistake of the stand-in: said to the test that meets it, and printed with its place.
            traceback.print_exc()
            self.refuse(Refused("InternalFailure", f"the stand-in failed: {type(error).__name__}: {error}", 500))

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = serve

    def handle_request(self) -> None:
        if self.route.startswith("/_control/"):
            answer = control.answer(self.world, self.route.removeprefix("/_control/"), self.body())
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(answer).encode())
        elif self.route in self.world.credentials:
            credentials = self.world.credentials[self.route]()
            self.answer(200, {"Content-Type": "application/json"}, json.dumps(credentials).encode())
        elif found := LAYER.fullmatch(self.route):
            self.layer(found["place"], found["digest"])
        elif self.route.startswith("/moto-api"):
            self.to_moto(None)
        else:
            self.service(caller_of(self.headers, self.query))

    def service(self, caller: Caller) -> None:
        """Allowed by the caller's policies first, as AWS does; then answered here or by moto."""
        target, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
        if target:
            self.json(caller, target, operation)
        elif "x-www-form-urlencoded" in self.headers.get("Content-Type", ""):
            body = self.body()
            self.authenticate(caller, body)
            form = {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}
            guard.allow_all(self.world, caller, needs(caller, form.get("Action", ""), form))
            self.world.failures.strike(f"{caller.service}:{form.get('Action', '')}")
            self.to_moto(body, form=True)
        else:
            self.rest(caller)

    def json(self, caller: Caller, target: str, operation: str) -> None:
        body = self.body()
        self.authenticate(caller, body)
        request = json_service.document_of(body)
        service = SERVICES.get(target)
        guard.allow_all(self.world, caller, needs(caller, operation, with_arns(self.world, caller, request)))
        self.world.failures.strike(f"{caller.service}:{operation}")
        if service:
            service.check(operation, request)
        if service is None or operation not in service.verbs:
            self.to_moto(body)
            return
        answer = service.answer(Call(self.world, caller, operation, request, self.headers))
        self.answer(200, json_service.headers(), json.dumps(answer).encode())

    def authenticate(self, caller: Caller, body: bytes | None) -> None:
        """By the signature, where the key's secret is known here; a presigned URL is believed."""
        secret = self.world.secrets.get(caller.key)
        if secret and "Authorization" in self.headers:
            signature.check(secret, caller, self.command, self.path, self.headers, body)

    def rest(self, caller: Caller) -> None:
        body = None if caller.service == "s3" else self.body()
        self.authenticate(caller, body)
        operation, needed = needs_of_request(caller, self.command, self.path, self.headers)
        guard.allow_all(self.world, caller, needed)
        self.world.failures.strike(f"{caller.service}:{operation}", needed[0].action)
        if bucket_policies.is_about(self):
            bucket_policies.answer(self)
            return
        bucket = Need("s3:ListBucket", needed[0].resource.partition("/")[0])
        # Whoever may not list a bucket is not told either that an object is not there.
        hides_404 = operation in ("GetObject", "HeadObject") and guard.verdict_on(self.world, caller, bucket) != ALLOWED
        self.to_moto(body, hides_404=hides_404)

    def to_moto(self, body: bytes | None, *, hides_404: bool = False, form: bool = False) -> None:
        """`body` None: it is still to be read, and passes in pieces."""
        headers = passing.request_headers(self)
        if body is not None:
            headers = without(headers, "transfer-encoding", "content-length") | {"Content-Length": str(len(body))}
        pieces = self.pieces() if body is None else [body]
        with passing.asked(self.world.moto_port, self.command, self.path, headers, pieces) as answer:
            if answer.status == 500:
                raise Refused("InternalFailure", f"moto cannot answer this: {answer.read()[:300]!r}", 500)
            if answer.status == 404 and hides_404:
                raise Refused("AccessDenied", "Access Denied", 403)
            given = passing.answer_headers(answer)
            if form:
                self.answer(answer.status, without(given, "content-length"), self.corrected(answer.read()))
            else:
                passing.pass_back(self, answer, given, passing.answer_pieces(answer))

    def corrected(self, answer: bytes) -> bytes:
        """An answer of IAM, STS or CloudFormation: policies may have changed, a new key's secret may be in it, and repositories
        of a stack are on this machine.
        """
        self.world.principals.clear()
        text = answer.decode(errors="replace")
        self.world.secrets.update(zip(NEW_KEY.findall(text), NEW_SECRET.findall(text), strict=False))
        return ECR_HOST.sub(lambda found: self.world.registry_host(found["region"]), text).encode()

    def layer(self, place: str, digest: str) -> None:
        """A layer's download, as S3 serves it: with a second way of signing it refuses."""
        if "Authorization" in self.headers:
            text = "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified"
            raise Refused("InvalidArgument", text)
        cut = self.world.cuts.for_request(self.command, self.path)
        headers = {name: value for name, value in self.headers.items() if name.lower() == "range"}
        path = f"/v2/{place}/blobs/{digest}"
        with passing.asked(self.world.storage_port, self.command, path, headers) as answer:
            pieces = self.world.cuts.apply(cut, passing.answer_pieces(answer))
            passing.pass_back(self, answer, passing.answer_headers(answer), pieces)

    def refuse(self, refused: Refused) -> None:
        """In the protocol of the service: JSON, or XML as S3 and the query services have it."""
        if "X-Amz-Target" in self.headers or self.route.startswith("/_control/"):
            self.answer(refused.status, json_service.headers(), json_service.error_body(refused))
            return
        self.drain()
        self.answer(*xml_error(refused, s3="/s3/aws4_request" in self.headers.get("Authorization", self.path)))


def without(headers: dict[str, str], *names: str) -> dict[str, str]:
    """`names` in lower case."""
    return {name: value for name, value in headers.items() if name.lower() not in names}


def xml_error(refused: Refused, *, s3: bool) -> tuple[int, dict[str, str], bytes]:
    """These services name some errors otherwise than the JSON services, and answer 403."""
    code = XML_CODES.get(refused.code, refused.code)
    status = 403 if code != refused.code else refused.status
    error = f"<Code>{code}</Code><Message>{escape(refused.message)}</Message>"
    id = f"<RequestId>{uuid.uuid4()}</RequestId>"
    body = (
        f"<Error>{error}{id}</Error>" if s3 else f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>{id}</ErrorResponse>"
    )
    return status, {"Content-Type": "text/xml"}, f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()


def serve(handler: Any, port: int = 0) -> Server:
    """Answers on loopback from a thread of its own."""
    server = Server(("127.0.0.1", port), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    return server


def open_all(world: World, regions: tuple[str, ...]) -> None:
    """The endpoint and a registry for each region; more registries when they are first named."""
    world.open_registry = lambda region: serve(registry.handler_for(world, region)).server_port
    for region in regions:
        world.registry_host(region)
    world.port = serve(type("EndpointOfWorld", (Endpoint,), {"world": world})).server_port
