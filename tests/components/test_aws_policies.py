"""What a policy says of a request, and which action of S3 a request is: decided without a server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.components.aws.iam.policy import ALLOWED, DENIED, UNMENTIONED, decide
from tests.components.aws.iam.rest import operation_of

REPOSITORY = "arn:aws:ecr:us-east-1:123456789012:repository"
PUSH = [
    "ecr:BatchCheckLayerAvailability",
    "ecr:InitiateLayerUpload",
    "ecr:UploadLayerPart",
    "ecr:CompleteLayerUpload",
    "ecr:PutImage",
]


@pytest.mark.parametrize(
    ("statement", "action", "resource", "verdict"),
    [
        ({"Action": "ecr:*", "Resource": "*"}, "ecr:PutImage", "r", ALLOWED),
        ({"Action": "ECR:put*", "Resource": "*"}, "ecr:PutImage", "r", ALLOWED),
        ({"Action": "ecr:PutImage", "Resource": "a/*"}, "ecr:PutImage", "b/c", UNMENTIONED),
        ({"Action": "ecr:PutImage", "Resource": "a.*"}, "ecr:PutImage", "abc", UNMENTIONED),
        ({"NotAction": "iam:*", "Resource": "*"}, "ecr:PutImage", "r", ALLOWED),
        ({"NotAction": "iam:*", "Resource": "*"}, "iam:PassRole", "r", UNMENTIONED),
        ({"Action": "*", "NotResource": "a/*"}, "s3:GetObject", "a/b", UNMENTIONED),
        (
            {"Action": "*", "Resource": "*", "Condition": {"StringEquals": {"AWS:requestedregion": "us-east-1"}}},
            "a:B",
            "r",
            ALLOWED,
        ),
        (
            {"Action": "*", "Resource": "*", "Condition": {"StringLike": {"aws:RequestedRegion": "eu-*"}}},
            "a:B",
            "r",
            UNMENTIONED,
        ),
        ({"Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/a": "b"}}}, "a:B", "r", UNMENTIONED),
        (
            {"Action": "*", "Resource": "*", "Condition": {"StringEqualsIfExists": {"aws:ResourceTag/a": "b"}}},
            "a:B",
            "r",
            ALLOWED,
        ),
        ({"Effect": "Deny", "Action": "ecr:PutImage", "Resource": "*"}, "ecr:PutImage", "r", DENIED),
    ],
)
def test_decide(statement: dict[str, Any], action: str, resource: str, verdict: str) -> None:
    """Wildcards, Not, conditions, and a denial that wins over an allowance."""
    statements = [{"Effect": "Allow", **statement}]
    if statement.get("Effect") == "Deny":
        statements.append({"Effect": "Allow", "Action": "*", "Resource": "*"})
    assert decide(statements, action, [resource], {"aws:RequestedRegion": "us-east-1"}) == verdict


def test_unknown_operator() -> None:
    """A condition that is not handled is an error, never a guess."""
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}
    with pytest.raises(NotImplementedError):
        decide([statement], "a:B", ["r"], {"aws:SourceIp": "10.0.0.1"})


@pytest.mark.parametrize(
    ("method", "url", "headers", "operation"),
    [
        ("GET", "/", {}, "ListBuckets"),
        ("PUT", "/b", {}, "CreateBucket"),
        ("GET", "/b?list-type=2&prefix=a", {}, "ListObjectsV2"),
        ("PUT", "/b/k/l", {}, "PutObject"),
        ("PUT", "/b/k", {"X-Amz-Copy-Source": "b/other"}, "CopyObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=u", {}, "UploadPart"),
        ("POST", "/b/k?uploads", {}, "CreateMultipartUpload"),
        ("POST", "/b/k?uploadId=u", {}, "CompleteMultipartUpload"),
        ("DELETE", "/b/k?uploadId=u", {}, "AbortMultipartUpload"),
        ("DELETE", "/b/k", {}, "DeleteObject"),
        ("PUT", "/b?lifecycle", {}, "PutBucketLifecycleConfiguration"),
        ("PUT", "/b?encryption", {}, "PutBucketEncryption"),
        ("GET", "/b?versioning", {}, "GetBucketVersioning"),
        ("HEAD", "/b", {}, "HeadBucket"),
        ("POST", "/b?delete", {}, "DeleteObjects"),
    ],
)
def test_s3_operations(method: str, url: str, headers: dict[str, str], operation: str) -> None:
    """The operation is the most particular one that fits."""
    assert operation_of("s3", method, url, headers)[0] == operation
