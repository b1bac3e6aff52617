"""S3's bucket policies: kept here, for moto follows a Deny whatever its Condition says (`aws:SecureTransport` of a TLS-only bucket).

They are remembered and given back; requests are not judged by them. On loopback nothing has TLS.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.components.aws.wire.refused import Refused

if TYPE_CHECKING:
    from tests.components.aws.server import Endpoint

BUCKET = re.compile(r"/(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/?")


def is_about(endpoint: Endpoint) -> bool:
    return endpoint.query.split("&")[0] in ("policy", "policy=") and BUCKET.fullmatch(endpoint.route) is not None


def answer(endpoint: Endpoint) -> None:
    """PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy. Raises Refused."""
    found = BUCKET.fullmatch(endpoint.route)
    assert found is not None
    policies, bucket = endpoint.world.bucket_policies, found["bucket"]
    if endpoint.command == "PUT":
        policies[bucket] = endpoint.body()
        endpoint.answer(204, {})
    elif endpoint.command == "DELETE":
        policies.pop(bucket, None)
        endpoint.answer(204, {})
    elif bucket in policies:
        endpoint.answer(200, {"Content-Type": "application/json"}, policies[bucket])
    else:
        raise Refused("NoSuchBucketPolicy", "The bucket policy does not exist", 404)
