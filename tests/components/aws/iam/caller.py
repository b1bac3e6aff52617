"""Who signed a request, and for which service and region: Signature Version 4's credential scope."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs

from tests.components.aws.wire.exchange import Headers
from tests.components.aws.wire.refused import Refused

SCOPE = re.compile(r"(?P<key>[^/\s,=]+)/\d{8}/(?P<region>[a-z0-9-]*)/(?P<service>[a-z0-9-]+)/aws4_request")


@dataclass(frozen=True)
class Caller:
    key: str
    """Access key id."""
    region: str
    service: str
    """The signing name, which is also how policies name the service."""


def caller_of(headers: Headers, query: str) -> Caller:
    """From the Authorization header, or from the query of a presigned URL. Raises Refused (403) for an unsigned request."""
    given = parse_qs(query)
    scope = SCOPE.search(headers.get("Authorization", "")) or SCOPE.search("".join(given.get("X-Amz-Credential", [])))
    if scope and not scope["region"]:
        raise Refused("InvalidSignatureException", "Credential should be scoped to a valid region.", 403)
    if scope:
        return Caller(scope["key"], scope["region"], scope["service"])
    if old := given.get("AWSAccessKeyId"):  # boto3 still presigns for S3 with version 2, which names no region
        return Caller(old[0], "us-east-1", "s3")
    raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
