"""A service of AWS's JSON protocol: which operations are answered here, each request and answer checked against the service's model."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.model import OperationNotFoundError

from tests.components.aws.wire import shapes
from tests.components.aws.wire.exchange import Headers
from tests.components.aws.wire.refused import Refused

if TYPE_CHECKING:
    from tests.components.aws.iam.caller import Caller
    from tests.components.aws.world import World

Document = dict[str, Any]


@dataclass
class Call:
    """One request to a service."""

    world: World
    caller: Caller
    operation: str
    request: Document
    headers: Headers = field(default_factory=dict)

    @property
    def region(self) -> str:
        return self.caller.region


@dataclass
class JsonService:
    name: str
    """As botocore names it."""
    target: str
    """What X-Amz-Target begins with."""
    invalid: str
    """The error code of a request that breaks a constraint."""
    verbs: dict[str, Callable[[Call], Document]] = field(default_factory=dict)

    def verb(self, function: Callable[[Call], Document]) -> Callable[[Call], Document]:
        """Decorates the function that answers the operation of its name: `put_image` answers PutImage."""
        self.verbs["".join(word.capitalize() for word in function.__name__.split("_"))] = function
        return function

    def check(self, operation: str, request: Document) -> None:
        """Of every operation, those that moto answers too. Raises Refused for what breaks a constraint."""
        try:
            shape = shapes.service_model(self.name).operation_model(operation).input_shape
        except OperationNotFoundError:
            raise Refused("UnknownOperationException", f"there is no operation {operation} in {self.name}") from None
        if shape and (wrong := shapes.wrongs(shape, request)):
            raise Refused(self.code_of(wrong), many(wrong))

    def answer(self, call: Call) -> Document:
        """Raises Refused: what the verb refuses, or (500) an answer of ours that is not of the operation's shape."""
        given = self.verbs[call.operation](call)
        shape = shapes.service_model(self.name).operation_model(call.operation).output_shape
        if shape and (wrong := shapes.wrongs(shape, shapes.without_empty_lists(shape, given))):
            raise Refused("InternalFailure", f"the stand-in answers {call.operation} wrongly: {many(wrong)}", 500)
        return given

    def code_of(self, wrong: list[str]) -> str:
        return self.invalid if all("failed to satisfy constraint" in each for each in wrong) else "SerializationException"


def many(wrong: list[str]) -> str:
    """As AWS puts it."""
    return f"{len(wrong)} validation error{'s' * (len(wrong) > 1)} detected: {'; '.join(wrong)}"


def document_of(body: bytes) -> Document:
    """Raises Refused."""
    try:
        request = json.loads(body or b"{}")
    except ValueError:
        raise Refused("SerializationException", "the body is not JSON") from None
    if not isinstance(request, dict):
        raise Refused("SerializationException", "the body is not a structure")
    return request


def headers() -> dict[str, str]:
    return {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": str(uuid.uuid4())}


def error_body(refused: Refused) -> bytes:
    return json.dumps({"__type": refused.code, "message": refused.message, **refused.members}).encode()
