"""boto3's only endpoint: what is answered here, and the rest passed on to moto."""

from __future__ import annotations

import json
import re
import threading
import traceback
import uuid
from typing import Any
from urllib.parse import parse_qs

from tests.components.aws import bucket_policies, control
from tests.components.aws.codebuild import asking, projects, starting
from tests.components.aws.codebuild.service import CODEBUILD
from tests.components.aws.ecr import image_verbs, layer_verbs, registry, repositories
from tests.components.aws.ecr.cuts import CutError
from tests.components.aws.ecr.service import ECR
from tests.components.aws.iam.caller import Caller, caller_of
from tests.components.aws.wire import json_service, passing
from tests.components.aws.wire.exchange import BrokenBodyError, Exchange, Server
from tests.components.aws.wire.json_service import Call, JsonService
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import World

SERVICES: dict[str, JsonService] = {service.target: service for service in (ECR, CODEBUILD)}
VERB_MODULES = (repositories, image_verbs, layer_verbs, projects, starting, asking)
"""Importing them fills the services' verbs."""
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
        target, _, operation = self.headers.get("X-Amz-Target", "").partition(".")
        if not target and bucket_policies.is_about(self):
            bucket_policies.answer(self)
            return
        if not target:
            self.to_moto(self.body() if "x-www-form-urlencoded" in self.headers.get("Content-Type", "") else None)
            return
        body = self.body()
        service = SERVICES.get(target)
        if service is None or operation not in service.verbs:
            self.to_moto(body)
            return
        call = Call(self.world, caller, operation, json_service.document_of(body), self.headers)
        answer = service.answer(call)
        self.answer(200, json_service.headers(), json.dumps(answer).encode())

    def to_moto(self, body: bytes | None) -> None:
        """`body` None: it is still to be read, and passes in pieces."""
        headers = passing.request_headers(self)
        if body is not None:
            headers = {
                name: value for name, value in headers.items() if name.lower() not in ("transfer-encoding", "content-length")
            }
            headers["Content-Length"] = str(len(body))
        pieces = self.pieces() if body is None else [body]
        with passing.asked(self.world.moto_port, self.command, self.path, headers, pieces) as answer:
            passing.pass_back(self, answer, passing.answer_headers(answer), passing.answer_pieces(answer))

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
        self.close_connection = True  # the body may not have been read
        self.answer(refused.status, {"Content-Type": "text/xml"}, xml_error(refused, s3="s3/aws4" in str(self.headers)))

    def form(self, body: bytes) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(body.decode(errors="replace")).items()}


def xml_error(refused: Refused, *, s3: bool) -> bytes:
    from xml.sax.saxutils import escape

    error = f"<Code>{refused.code}</Code><Message>{escape(refused.message)}</Message>"
    id = f"<RequestId>{uuid.uuid4()}</RequestId>"
    if s3:
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{error}{id}</Error>'.encode()
    return f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>{id}</ErrorResponse>".encode()


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
