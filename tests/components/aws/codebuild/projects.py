"""CodeBuild's projects. Nothing that AWS takes is refused."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

from tests.components.aws.codebuild.service import CODEBUILD
from tests.components.aws.wire.json_service import Call
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import ACCOUNT, World

Document = dict[str, Any]
DEFAULTS: Document = {
    "timeoutInMinutes": 60,
    "queuedTimeoutInMinutes": 480,
    "badge": {"badgeEnabled": False},
    "cache": {"type": "NO_CACHE"},
    "projectVisibility": "PRIVATE",
}
KMS_ALIAS = "alias/aws/s3"


def arn_of(region: str, name: str) -> str:
    return f"arn:aws:codebuild:{region}:{ACCOUNT}:project/{name}"


def existing(call: Call, name: str) -> Document:
    """By name or ARN. Raises Refused."""
    name = name.rpartition("project/")[2]
    found = call.world.codebuild.projects.get((call.region, name))
    if found is None:
        raise Refused("ResourceNotFoundException", f"Project cannot be found: {arn_of(call.region, name)}")
    return found


def members(request: Document) -> Document:
    """A request's members as a project has them."""
    given = copy.deepcopy(request)
    if "badgeEnabled" in given:
        given["badge"] = {"badgeEnabled": given.pop("badgeEnabled")}
    if "environment" in given:
        given["environment"] = {"environmentVariables": [], "privilegedMode": False, **given["environment"]}
    return given


@CODEBUILD.verb
def create_project(call: Call) -> Document:
    name = call.request["name"]
    arn, now = arn_of(call.region, name), time.time()
    with call.world.lock:
        if (call.region, name) in call.world.codebuild.projects:
            raise Refused("ResourceAlreadyExistsException", f"Project already exists: {arn}")
        refuse_role(call.world, call.request["serviceRole"])
        key = f"arn:aws:kms:{call.region}:{ACCOUNT}:{KMS_ALIAS}"
        project = {**copy.deepcopy(DEFAULTS), "encryptionKey": key, **members(call.request)}
        project |= {"arn": arn, "created": now, "lastModified": now}
        call.world.codebuild.projects[call.region, name] = project
    return {"project": project}


@CODEBUILD.verb
def update_project(call: Call) -> Document:
    project = existing(call, call.request["name"])
    if "serviceRole" in call.request:
        refuse_role(call.world, call.request["serviceRole"])
    project |= {**members(call.request), "lastModified": time.time()}
    return {"project": project}


@CODEBUILD.verb
def delete_project(call: Call) -> Document:
    """Also of one that is not there, as AWS."""
    call.world.codebuild.projects.pop((call.region, call.request["name"].rpartition("project/")[2]), None)
    return {}


@CODEBUILD.verb
def batch_get_projects(call: Call) -> Document:
    held = call.world.codebuild.projects
    names = {name: name.rpartition("project/")[2] for name in call.request["names"]}
    found = [held[call.region, name] for name in names.values() if (call.region, name) in held]
    return {
        "projects": found,
        "projectsNotFound": [given for given, name in names.items() if (call.region, name) not in held],
    }


@CODEBUILD.verb
def list_projects(call: Call) -> Document:
    names = sorted(name for region, name in call.world.codebuild.projects if region == call.region)
    return {"projects": names[::-1] if call.request.get("sortOrder") == "DESCENDING" else names}


def refuse_role(world: World, role: str) -> None:
    """A service role that does not exist, or that CodeBuild may not assume. Raises Refused."""
    refusal = Refused(
        "InvalidInputException",
        f"CodeBuild is not authorized to perform: sts:AssumeRole on service role. Please verify that: "
        f"1) The provided service role exists, 2) The role name is case-sensitive and matches exactly, and "
        f"3) The role has the necessary trust policy configured: {role}",
    )
    iam = world.moto_client("iam", "us-east-1")
    try:
        document = iam.get_role(RoleName=role.rpartition("/")[2])["Role"]["AssumeRolePolicyDocument"]
    except iam.exceptions.NoSuchEntityException:
        raise refusal from None
    if "codebuild.amazonaws.com" not in json.dumps(document):
        raise refusal
