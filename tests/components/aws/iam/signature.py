"""Signature Version 4, computed again by botocore with the key's secret.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
"""

from __future__ import annotations

import re

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.components.aws.iam.caller import Caller
from tests.components.aws.wire.exchange import Headers
from tests.components.aws.wire.refused import Refused

SIGNED = re.compile(r"SignedHeaders=(?P<names>[^,\s]+),\s*Signature=(?P<signature>[0-9a-f]{64})")
TEXT = (
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
)


def check(secret: str, caller: Caller, method: str, path: str, headers: Headers, body: bytes | None) -> None:
    """Raises Refused. `body` None: it is not read yet, and its hash is in the headers, as S3 demands."""
    lower = {name.lower(): value for name, value in headers.items()}
    found = SIGNED.search(lower.get("authorization", ""))
    if found is None or "x-amz-date" not in lower:
        raise Refused("IncompleteSignatureException", "Authorization header requires 'Signature' parameter.", 403)
    names = found["names"].split(";")
    if body is None and "x-amz-content-sha256" not in lower:
        raise Refused("InvalidRequest", "Missing required header for this request: x-amz-content-sha256", 400)
    signed = {name: lower.get(name, "") for name in names}
    request = AWSRequest(method, f"http://{lower['host']}{path}", headers=signed, data=body or b"")
    request.context["timestamp"] = lower["x-amz-date"]
    kind = S3SigV4Auth if caller.service == "s3" else SigV4Auth
    auth = kind(Credentials(caller.key, secret), caller.service, caller.region)
    text = auth.string_to_sign(request, auth.canonical_request(request))
    if auth.signature(text, request) != found["signature"]:
        raise Refused("InvalidSignatureException", TEXT, 403)
