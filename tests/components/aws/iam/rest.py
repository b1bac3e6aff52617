"""Which operation a request to a REST service is, and what it needs: S3 above all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.exceptions import UnknownServiceError

from tests.components.aws.iam.asked import Need
from tests.components.aws.iam.caller import Caller
from tests.components.aws.wire.exchange import Headers
from tests.components.aws.wire.shapes import service_model

MODELS = {"elasticfilesystem": "efs", "s3express": "s3"}
"""Signing name -> botocore's, where they differ."""
OTHER_NAMES = {
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "HeadBucket": "ListBucket",
    "HeadObject": "GetObject",
    "ListBuckets": "ListAllMyBuckets",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "ListParts": "ListMultipartUploadParts",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "CopyObject": "PutObject",
    "UploadPartCopy": "PutObject",
    "DeleteObjects": "DeleteObject",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
    "PutBucketLifecycle": "PutLifecycleConfiguration",
    "DeleteBucketLifecycle": "PutLifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "GetBucketLifecycle": "GetLifecycleConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "DeleteBucketOwnershipControls": "PutBucketOwnershipControls",
    "DeleteBucketTagging": "PutBucketTagging",
    "GetBucketReplication": "GetReplicationConfiguration",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
}
"""S3's operation -> the action, where its name differs.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""
OF_VERSION = {"GetObject": "GetObjectVersion", "DeleteObject": "DeleteObjectVersion"}


@cache
def routes(service: str) -> list[tuple[str, str, re.Pattern[str], frozenset[str], frozenset[str]]]:
    """Of each operation: name, method, path, the queries in its URI, and what else it must have in query or headers."""
    found = []
    model = service_model(MODELS.get(service, service))
    for name in set(model.operation_names) - {"ListDirectoryBuckets"}:  # at S3 Express's own hosts only
        operation = model.operation_model(name)
        path, _, query = operation.http["requestUri"].partition("?")
        expression = re.sub(r"\\\{[^}]*?\\\+\\\}", "(.+)", re.escape(path))
        expression = re.sub(r"\\\{[^}]*?\\\}", "([^/]+)", expression)
        shape, required = operation.input_shape, set()
        for member in shape.required_members if shape else ():
            given = shape.members[member].serialization
            if given.get("location") in ("querystring", "header"):
                required.add(given["name"].lower())
        queries = frozenset(each for each in query.split("&") if each)
        found.append((name, operation.http["method"], re.compile(f"{expression}/?"), queries, frozenset(required)))
    return found


def operation_of(service: str, method: str, url: str, headers: Headers) -> tuple[str, tuple[str, ...]]:
    """Name of the most particular operation that fits, and the parts of its path; empty where there is none."""
    parts = urlsplit(url)
    names = {name.lower() for name in parse_qs(parts.query, keep_blank_values=True)} | {name.lower() for name in headers}
    literal = {
        f"{name}={values[0]}" if values[0] else name for name, values in parse_qs(parts.query, keep_blank_values=True).items()
    }
    best: tuple[int, str, tuple[str, ...]] = (-1, "", ())
    try:
        known = routes(service)
    except UnknownServiceError:
        return "", ()
    for name, verb, path, queries, required in known:
        fits = path.fullmatch(parts.path)
        if verb == method and fits and queries <= literal and required <= names:
            best = max(best, (len(queries) + len(required), name, fits.groups()))
    return best[1], tuple(unquote(part) for part in best[2])


def needs_of_request(caller: Caller, method: str, url: str, headers: Headers) -> tuple[str, list[Need]]:
    """The operation and what it needs."""
    operation, parts = operation_of(caller.service, method, url, headers)
    if caller.service != "s3":
        return operation, [Need(f"{caller.service}:{operation or method}")]
    return operation, list(needs_of_s3(operation, parts, url, headers))


def needs_of_s3(operation: str, parts: tuple[str, ...], url: str, headers: Headers) -> Iterator[Need]:
    query = parse_qs(urlsplit(url).query)
    name = OTHER_NAMES.get(operation, operation)
    name = OF_VERSION.get(name, name) if "versionId" in query else name
    resource = f"arn:aws:s3:::{'/'.join(parts)}" if parts else "*"
    if operation == "DeleteObjects":
        resource += "/*"
    context = {f"s3:{each}": query[each][0] for each in ("prefix", "delimiter") if each in query}
    yield Need(f"s3:{name}", resource, context=context)
    lower: dict[str, Any] = {key.lower(): value for key, value in headers.items()}
    if source := lower.get("x-amz-copy-source"):
        yield Need("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/').partition('?')[0]}")
    if "x-amz-tagging" in lower:
        yield Need("s3:PutObjectTagging", resource)
