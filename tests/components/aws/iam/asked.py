"""What a request needs: the actions as policies name them, each with the resource it is about.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
A service that has no function here is asked about with the resource `*`: only a policy for `*` allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.components.aws.iam.caller import Caller
from tests.components.aws.world import ACCOUNT

Request = Mapping[str, Any]


@dataclass(frozen=True)
class Need:
    action: str
    resource: str = "*"
    other_names: tuple[str, ...] = ()
    """A policy that names one of these means the same thing."""
    context: dict[str, str] = field(default_factory=dict)
    """Condition key -> value."""


def needs(caller: Caller, operation: str, request: Request) -> list[Need]:
    """Of one operation of a service whose requests have members by name."""
    find = RESOURCES.get(caller.service)
    action = f"{caller.service}:{operation}"
    tags = tag_context(request)
    if find is None:
        return [Need(action, context=tags)]
    found = [Need(action, *names, context=tags) for names in find(caller, operation, request)]
    return [*found, *passed_roles(caller, request)]


def tag_context(request: Request) -> dict[str, str]:
    """aws:RequestTag/KEY, for both spellings of tags."""
    given = request.get("tags") or request.get("Tags") or []
    pairs = given.items() if isinstance(given, dict) else [(tag_part(tag, "key"), tag_part(tag, "value")) for tag in given]
    return {f"aws:RequestTag/{key}": str(value) for key, value in pairs}


def tag_part(tag: Any, part: str) -> str:
    return str(tag.get(part) or tag.get(part.capitalize()) or "") if isinstance(tag, dict) else ""


def passed_roles(caller: Caller, request: Request) -> list[Need]:
    """A role that is handed to CodeBuild, or to the nodes of a HyperPod cluster."""
    if caller.service == "sagemaker":
        groups = [each for each in request.get("InstanceGroups", []) if isinstance(each, dict)]
        names = dict.fromkeys(str(each["ExecutionRole"]) for each in groups if "ExecutionRole" in each)
        return [Need("iam:PassRole", role, context={"iam:PassedToService": "sagemaker.amazonaws.com"}) for role in names]
    if caller.service != "codebuild":
        return []
    roles = [request[name] for name in ("serviceRole", "serviceRoleOverride") if name in request]
    return [Need("iam:PassRole", role, context={"iam:PassedToService": "codebuild.amazonaws.com"}) for role in roles]


Names = Iterator[tuple[str, tuple[str, ...]]]


def of_ecr(caller: Caller, operation: str, request: Request) -> Names:
    stem = f"arn:aws:ecr:{caller.region}:{ACCOUNT}:repository/"
    if "resourceArn" in request:
        yield request["resourceArn"], ()
    elif "repositoryName" in request:
        yield stem + request["repositoryName"], ()
    elif operation == "DescribeRepositories":
        for name in request.get("repositoryNames") or ["*"]:
            yield stem + name, ()
    else:
        yield "*", ()


def of_codebuild(caller: Caller, operation: str, request: Request) -> Names:
    """Builds are authorized by their project."""
    stem = f"arn:aws:codebuild:{caller.region}:{ACCOUNT}:project/"
    ids = [*request.get("ids", []), *([request["id"]] if "id" in request else [])]
    named = [request[name] for name in ("projectName", "name") if name in request]
    names = [*named, *request.get("names", []), *(id.rpartition("build/")[2].partition(":")[0] for id in ids)]
    for name in dict.fromkeys(names):
        yield stem + name.rpartition("project/")[2], ()
    if not names:
        yield "*", ()


def of_logs(caller: Caller, operation: str, request: Request) -> Names:
    group = request.get("logGroupName", request.get("logGroupNamePrefix", ""))
    stem = f"arn:aws:logs:{caller.region}:{ACCOUNT}:log-group:{group}"
    stream = request.get("logStreamName", "")
    yield f"{stem}:log-stream:{stream}", () if stream else (stem, f"{stem}:*")


def of_secrets(caller: Caller, operation: str, request: Request) -> Names:
    """The six characters that AWS puts behind a secret's name are not known here."""
    id = request.get("SecretId") or request.get("Name") or "*"
    yield id if id.startswith("arn:") else f"arn:aws:secretsmanager:{caller.region}:{ACCOUNT}:secret:{id}-Ab12Cd", ()


def of_ssm(caller: Caller, operation: str, request: Request) -> Names:
    name = request.get("Name") or request.get("Path") or "*"
    yield f"arn:aws:ssm:{caller.region}:{ACCOUNT}:parameter/{name.lstrip('/')}", ()


def of_iam(caller: Caller, operation: str, request: Request) -> Names:
    for member, kind in (
        ("RoleName", "role"),
        ("UserName", "user"),
        ("GroupName", "group"),
        ("InstanceProfileName", "instance-profile"),
    ):
        if member in request:
            yield f"arn:aws:iam::{ACCOUNT}:{kind}/{request[member]}", ()
            return
    if "PolicyArn" in request:
        yield request["PolicyArn"], ()
    elif operation == "CreatePolicy":
        yield f"arn:aws:iam::{ACCOUNT}:policy/{request['PolicyName']}", ()
    else:
        yield "*", ()


def of_sts(caller: Caller, operation: str, request: Request) -> Names:
    yield request.get("RoleArn", "*"), ()


def of_cloudformation(caller: Caller, operation: str, request: Request) -> Names:
    """The last part of a stack's ARN is made up by AWS."""
    name = request.get("StackName", "*")
    yield name if name.startswith("arn:") else f"arn:aws:cloudformation:{caller.region}:{ACCOUNT}:stack/{name}/0", ()


def of_sagemaker(caller: Caller, operation: str, request: Request) -> Names:
    """HyperPod's clusters by their ARN, whose last part is an id that AWS makes up: `with_arns` has put it in for the name."""
    stem = f"arn:aws:sagemaker:{caller.region}:{ACCOUNT}:cluster/"
    arns = [str(request[name]) for name in ("ClusterName", "SourceClusterArn", "TargetClusterArn") if name in request]
    for arn in dict.fromkeys(arns):
        yield arn if arn.startswith("arn:") else stem + ("*" if operation == "CreateCluster" else arn), ()
    if not arns:
        yield "*", ()


RESOURCES: dict[str, Callable[[Caller, str, Request], Names]] = {
    "ecr": of_ecr,
    "codebuild": of_codebuild,
    "logs": of_logs,
    "secretsmanager": of_secrets,
    "ssm": of_ssm,
    "iam": of_iam,
    "sts": of_sts,
    "cloudformation": of_cloudformation,
    "sagemaker": of_sagemaker,
}
"""Service, as policies name it -> the resources of an operation: each with other names for the same."""
