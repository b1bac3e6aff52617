"""Requests and answers are held against the service models: each kind of violation is found, in both directions."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.components.aws.running import Aws
from tests.components.aws.wire.json_service import Call, JsonService
from tests.components.aws.wire.refused import Refused
from tests.components.aws.wire.shapes import service_model, wrongs
from tests.components.aws.world import ROOT_KEY, ROOT_SECRET

PROJECT: dict[str, Any] = {
    "name": "project",
    "source": {"type": "NO_SOURCE", "buildspec": "version: 0.2"},
    "artifacts": {"type": "NO_ARTIFACTS"},
    "environment": {"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL"},
    "serviceRole": "arn:aws:iam::123456789012:role/r",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """The project with one member set, or taken away with None."""
    document = json.loads(json.dumps(PROJECT))
    *way, last = path.split(".")
    target = document
    for step in way:
        target = target[step]
    target[last] = value
    return document


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (changed("environment.computeType", "HUGE"), "enum value set"),
        (changed("name", "-a"), "regular expression pattern"),
        (changed("environment.image", ""), "length greater than or equal to 1"),
        (changed("description", "x" * 256), "length less than or equal to 255"),
        (changed("timeoutInMinutes", 4), "value greater than or equal to 5"),
        (changed("timeoutInMinutes", 2161), "value less than or equal to 2160"),
        (changed("timeoutInMinutes", "60"), "is not an integer"),
        (changed("timeoutInMinutes", True), "is not an integer"),
        (changed("serviceRole", None), "Member must not be null"),
        (changed("dockerServer", {}), "Unknown member 'dockerServer'"),
        (changed("environment.dockerServer", [{}]), "is not a structure"),
        (changed("environment.privilegedMode", "true"), "is not a boolean"),
        (changed("secondarySources", {}), "is not a list"),
        (changed("tags", [{"key": "a;b", "value": ""}]), "regular expression pattern"),
        (changed("description", 5), "is not a string"),
    ],
)
def test_violation(document: dict[str, Any], says: str) -> None:
    """One violation of each kind is found, alone."""
    shape = service_model("codebuild").operation_model("CreateProject").input_shape
    [wrong] = wrongs(shape, document)
    assert says in wrong


def test_right() -> None:
    """What is right has none; tags may have letters of any script."""
    shape = service_model("codebuild").operation_model("CreateProject").input_shape
    assert wrongs(shape, changed("tags", [{"key": "größe/a", "value": "b c"}])) == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({"build": {"buildStatus": "DONE"}}, "enum value set"),
        ({"build": {"startTime": "2026-11-29"}}, "is not a number of seconds"),
        ({"build": {"state": "x"}}, "Unknown member"),
        ({"build": {"id": ""}}, "length greater than or equal to 1"),
    ],
)
def test_wrong_answer(answer: dict[str, Any], says: str) -> None:
    """An answer of ours that is not of the service's shape is an error of the stand-in."""
    service = JsonService("codebuild", "CodeBuild_20161006", invalid="InvalidInputException")
    service.verbs["StopBuild"] = lambda call: answer
    call: Any = Call(None, None, "StopBuild", {"id": "p:1"})  # type: ignore[arg-type]
    with pytest.raises(Refused, match=says) as raised:
        service.answer(call)
    assert raised.value.status == 500
    service.verbs["StopBuild"] = lambda call: {"build": {"buildStatus": "STOPPED", "startTime": 1.5}}
    service.answer(call)


@pytest.mark.parametrize(
    ("target", "request_", "code"),
    [
        ("CodeBuild_20161006.CreateProject", changed("environment.computeType", "HUGE"), "InvalidInputException"),
        ("CodeBuild_20161006.CreateProject", changed("unknown", 1), "SerializationException"),
        ("AmazonEC2ContainerRegistry_V20150921.CreateRepository", {"repositoryName": "UPPER"}, "InvalidParameterException"),
        ("AmazonEC2ContainerRegistry_V20150921.PutLifecyclePolicy", {"repositoryName": "r"}, "InvalidParameterException"),
    ],
)
def test_refused_at_the_wire(aws: Aws, target: str, request_: dict[str, Any], code: str) -> None:
    """What boto3's own validator lets pass, or another client sends, is refused with the service's code."""
    service = "codebuild" if target.startswith("CodeBuild") else "ecr"
    signed = AWSRequest("POST", f"{aws.endpoint}/", {"X-Amz-Target": target}, json.dumps(request_).encode())
    SigV4Auth(Credentials(ROOT_KEY, ROOT_SECRET), service, "us-east-1").add_auth(signed)
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(urllib.request.Request(signed.url, signed.data, dict(signed.headers)), timeout=30)
    with raised.value as answer:
        assert (answer.code, json.loads(answer.read())["__type"]) == (400, code)
