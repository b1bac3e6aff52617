"""Policies at the wire: what they do not allow is refused in AWS's words, and every call is on record."""

from __future__ import annotations

import urllib.request
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.components.aws.building import ended, phases, refusal, spec, start
from tests.components.aws.pushing import Pusher
from tests.components.aws.running import VERSION, Aws

REPOSITORY = "arn:aws:ecr:us-east-1:123456789012:repository"
PUSH = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
]


def policy(*statements: tuple[list[str], str]) -> dict[str, Any]:
    return {
        "Version": VERSION,
        "Statement": [{"Effect": "Allow", "Action": actions, "Resource": name} for actions, name in statements],
    }


def test_denied(aws: Aws) -> None:
    """A call that is answered here, and one of moto's, are refused with user, action and resource; root is not."""
    environment = aws.user(policy((["ecr:DescribeRepositories"], "*")))
    with pytest.raises(ClientError) as raised:
        aws.client("ecr", environment=environment).create_repository(repositoryName="team")
    assert refusal(raised) == (
        "AccessDeniedException",
        f"User: arn:aws:iam::123456789012:user/tester is not authorized to perform: ecr:CreateRepository on resource: "
        f"{REPOSITORY}/team because no identity-based policy allows the ecr:CreateRepository action",
    )
    with pytest.raises(ClientError) as raised:
        aws.client("iam", environment=environment).create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    assert refusal(raised)[0] == "AccessDenied"
    assert "iam:CreateRole on resource: arn:aws:iam::123456789012:role/r" in refusal(raised)[1]
    aws.client("ecr").create_repository(repositoryName="team")


def test_enough_and_nothing_else(aws: Aws) -> None:
    """A policy for a push is enough for one, on its repository only; the record holds exactly what was called."""
    for name in ("mine", "theirs"):
        aws.client("ecr").create_repository(repositoryName=name)
    environment = aws.user(policy((["ecr:GetAuthorizationToken"], "*"), (PUSH, f"{REPOSITORY}/mine")))
    host = aws.registries["us-east-1"]
    assert Pusher(aws, f"{host}/mine", environment=environment).push(b"layer", "v1")[0] == 201
    assert {each["action"] for each in aws.actions(environment)} == {"ecr:GetAuthorizationToken", *PUSH} - {PUSH[0]}
    status, _, said = Pusher(aws, f"{host}/theirs", environment=environment).ask("POST", "blobs/uploads/")
    assert status == 403
    assert b"not authorized to perform: ecr:InitiateLayerUpload on resource: arn:aws:ecr:us-east-1" in said
    assert [each["action"] for each in aws.actions(environment) if not each["allowed"]] == ["ecr:InitiateLayerUpload"]


def test_s3(aws: Aws) -> None:
    """S3's actions are those of policies; whoever may not list is not told that an object is not there."""
    s3 = aws.client("s3")
    s3.create_bucket(Bucket="sources")
    s3.put_object(Bucket="sources", Key="a/b", Body=b"x")
    environment = aws.user(policy((["s3:GetObject", "s3:PutObject"], "arn:aws:s3:::sources/a/*")))
    limited = aws.client("s3", environment=environment)
    assert limited.get_object(Bucket="sources", Key="a/b")["Body"].read() == b"x"
    limited.put_object(Bucket="sources", Key="a/c", Body=b"y" * 100_000)
    with pytest.raises(ClientError) as raised:
        limited.head_object(Bucket="sources", Key="a/none")
    assert refusal(raised)[0] == "403"
    with pytest.raises(ClientError) as raised:
        limited.list_objects_v2(Bucket="sources")
    assert refusal(raised)[0] == "AccessDenied"
    assert "s3:ListBucket on resource: arn:aws:s3:::sources" in refusal(raised)[1]
    with pytest.raises(ClientError) as raised:
        s3.head_object(Bucket="sources", Key="a/none")
    assert refusal(raised)[0] == "404"


def test_unknown_key(aws: Aws) -> None:
    """Keys that nobody has are refused by every protocol."""
    environment = aws.environment_of("AKIA0000000000000000", "secret")
    for call, code in (
        (aws.client("ecr", environment=environment).describe_repositories, "UnrecognizedClientException"),
        (aws.client("sts", environment=environment).get_caller_identity, "InvalidClientTokenId"),
    ):
        with pytest.raises(ClientError) as raised:
            call()
        assert refusal(raised)[0] == code


def test_wrong_secret(aws: Aws) -> None:
    """A signature by another secret is refused, as each protocol says it; that of a user's own is not."""
    right = aws.user(policy((["s3:*", "ecr:*"], "*")))
    wrong = right | {"AWS_SECRET_ACCESS_KEY": "wrong"}
    for service, verb, code in (
        ("ecr", "describe_repositories", "InvalidSignatureException"),
        ("s3", "list_buckets", "SignatureDoesNotMatch"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
    ):
        with pytest.raises(ClientError) as raised:
            getattr(aws.client(service, environment=wrong), verb)()
        assert refusal(raised)[0] == code
        getattr(aws.client(service, environment=right), verb)()


def test_session(aws: Aws) -> None:
    """Keys of an assumed role are that role's: its policy holds, its signature is checked, and a presigned URL needs none."""
    role = aws.make_role("reader", policy((["s3:GetObject"], "*")))
    aws.client("s3").create_bucket(Bucket="sources")
    aws.client("s3").put_object(Bucket="sources", Key="ä b+c", Body=b"x")
    keys = aws.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    environment = aws.environment_of(keys["AccessKeyId"], keys["SecretAccessKey"]) | {"AWS_SESSION_TOKEN": keys["SessionToken"]}
    s3 = aws.client("s3", environment=environment)
    assert s3.get_object(Bucket="sources", Key="ä b+c")["Body"].read() == b"x"
    url = s3.generate_presigned_url("get_object", Params={"Bucket": "sources", "Key": "ä b+c"})
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == b"x"
    with pytest.raises(ClientError) as raised:
        s3.put_object(Bucket="sources", Key="other", Body=b"x")
    assert ":assumed-role/reader/me is not authorized to perform: s3:PutObject" in refusal(raised)[1]


def test_pass_role(aws: Aws) -> None:
    """A project with a role needs iam:PassRole on it, for CodeBuild."""
    role = aws.make_role()
    allowed = policy((["codebuild:CreateProject"], "*"))
    environment = aws.user(allowed)
    members = {
        "source": {"type": "S3", "location": "b/k.zip"},
        "artifacts": {"type": "NO_ARTIFACTS"},
        "environment": {"type": "LINUX_CONTAINER", "image": "i", "computeType": "BUILD_GENERAL1_SMALL"},
    }
    with pytest.raises(ClientError) as raised:
        aws.client("codebuild", environment=environment).create_project(name="mine", serviceRole=role, **members)
    assert f"iam:PassRole on resource: {role}" in refusal(raised)[1]
    condition = {"StringEquals": {"iam:PassedToService": "codebuild.amazonaws.com"}}
    allowed["Statement"].append({"Effect": "Allow", "Action": "iam:PassRole", "Resource": role, "Condition": condition})
    environment = aws.user(allowed, "other")
    aws.client("codebuild", environment=environment).create_project(name="mine", serviceRole=role, **members)


def test_role_of_a_build(aws: Aws) -> None:
    """A build whose role may not write its log, or read its source, fails and says which permission is missing."""
    aws.client("s3").create_bucket(Bucket="sources")
    logs = (["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], "*")
    aws.make_project("silent", policy((["s3:GetObject"], "*")))
    aws.make_project("blind", policy(logs))
    build = ended(aws, start(aws, "silent"))
    [context] = phases(build)["PROVISIONING"]["contexts"]
    assert (build["buildStatus"], context["statusCode"]) == ("FAILED", "ACCESS_DENIED")
    assert "is not authorized to perform: logs:CreateLogStream" in context["message"]
    aws.make_project("groupless", policy((["logs:CreateLogStream", "logs:PutLogEvents"], "*")))
    build = ended(aws, start(aws, "groupless"))
    [context] = phases(build)["PROVISIONING"]["contexts"]
    assert (build["buildStatus"], context["statusCode"]) == ("FAILED", "ACCESS_DENIED"), "AWS is not at fault"
    assert "is not authorized to perform: logs:CreateLogGroup" in context["message"]
    source = {"sourceTypeOverride": "S3", "sourceLocationOverride": "sources/a.zip"}
    build = ended(aws, start(aws, "blind", buildspecOverride=spec(build=["true"]), **source))
    assert "s3:GetObject on resource: arn:aws:s3:::sources/a.zip" in phases(build)["DOWNLOAD_SOURCE"]["contexts"][0]["message"]


def test_retry_needs_the_role(aws: Aws) -> None:
    """CodeBuild retries with the service role: without codebuild:RetryBuild there is no next build."""
    logs = (["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents"], "*")
    aws.make_project("once", policy(logs))
    build = ended(aws, start(aws, "once", buildspecOverride=spec(build=["false"]), autoRetryLimitOverride=1))
    assert "nextAutoRetry" not in build["autoRetryConfig"]


def test_no_region(aws: Aws) -> None:
    """A request that names no region is refused as AWS refuses it."""
    environment = aws.environment | {"AWS_REGION": ""}
    with pytest.raises(ClientError) as raised:
        aws.client("sts", environment=environment).get_caller_identity()
    assert refusal(raised) == ("SignatureDoesNotMatch", "Credential should be scoped to a valid region.")
