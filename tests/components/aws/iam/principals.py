"""Whose an access key is, and that principal's policies: users and roles are moto's."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from tests.components.aws.wire.passing import asked
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import ACCOUNT, ROOT_KEY, World

ROLE = re.compile(r"arn:aws[a-z-]*:sts::\d{12}:assumed-role/(?P<name>[^/]+)/")
USER = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:user/(?:.*/)?(?P<name>[^/]+)")


@dataclass(frozen=True)
class Principal:
    arn: str
    statements: tuple[dict[str, Any], ...] = ()
    root: bool = False
    """The account's root: everything is allowed."""


def principal(world: World, key: str) -> Principal:
    """Kept until something of IAM is called. Raises Refused (403) for a key that nobody has."""
    if key == ROOT_KEY:
        return Principal(f"arn:aws:iam::{ACCOUNT}:root", root=True)
    if key not in world.principals:
        arn = identity(world, key)
        world.principals[key] = Principal(arn, tuple(statements(world.moto_client("iam", "us-east-1"), arn)))
    return world.principals[key]


def identity(world: World, key: str) -> str:
    """The ARN by moto's GetCallerIdentity."""
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    headers = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/sts/aws4_request, SignedHeaders=host, Signature=0",
        "Content-Type": "application/x-www-form-urlencoded",
        "Content-Length": str(len(body)),
    }
    with asked(world.moto_port, "POST", "/", headers, [body]) as answer:
        found = re.search(r"<Arn>([^<]+)</Arn>", answer.read().decode())
    # moto answers user/moto for a key that it does not know.
    if found is None or found[1].endswith(":user/moto"):
        raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.", 403)
    return found[1]


def statements(iam: Any, arn: str) -> Iterator[dict[str, Any]]:
    """Of all its policies, inline and managed, and of its groups'."""
    if found := ROLE.match(arn):
        yield from of_entity(iam, "role", "RoleName", found["name"])
    elif found := USER.match(arn):
        yield from of_entity(iam, "user", "UserName", found["name"])
        for group in iam.list_groups_for_user(UserName=found["name"])["Groups"]:
            yield from of_entity(iam, "group", "GroupName", group["GroupName"])


def of_entity(iam: Any, kind: str, member: str, name: str) -> Iterator[dict[str, Any]]:
    whose = {member: name}
    for policy in getattr(iam, f"list_{kind}_policies")(**whose)["PolicyNames"]:
        yield from of_document(getattr(iam, f"get_{kind}_policy")(**whose, PolicyName=policy)["PolicyDocument"])
    for policy in getattr(iam, f"list_attached_{kind}_policies")(**whose)["AttachedPolicies"]:
        version = iam.get_policy(PolicyArn=policy["PolicyArn"])["Policy"]["DefaultVersionId"]
        answer = iam.get_policy_version(PolicyArn=policy["PolicyArn"], VersionId=version)
        yield from of_document(answer["PolicyVersion"]["Document"])


def of_document(document: Any) -> Iterator[dict[str, Any]]:
    found = (read(unquote(document)) if isinstance(document, str) else document)["Statement"]
    yield from found if isinstance(found, list) else [found]


def read(text: str) -> dict[str, Any]:
    """moto gives the policies of a stack's role as Python prints a dict."""
    try:
        return dict(json.loads(text))
    except ValueError:
        return dict(ast.literal_eval(text))
