"""A workspace of Amazon Managed Service for Prometheus: the same API behind SigV4. The question itself is the kit's."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import trainyard_aws as aws
import trainyard_shell as shell
from trainyard_prometheus import Place, refuse_address

WORKSPACE = re.compile(r"ws-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}|::1")
AWS_HOST = re.compile(r"\.(?:amazonaws\.com|amazonaws\.com\.cn|api\.aws)$")
REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+){1,3}-\d")


@dataclass(frozen=True)
class Sigv4:
    """Signs a GET for AMP."""

    credentials: Any
    region: str

    def headers(self, url: str) -> dict[str, str]:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method="GET", url=url)
        SigV4Auth(self.credentials, "aps", self.region).add_auth(request)
        return dict(request.headers.items())


def workspace(id: str, region: str | None) -> Place:
    """An AMP workspace. Its address is AWS's, or what AWS_ENDPOINT_URL_AMP says, as for every client of AWS.

    Raises SkillError usage; AwsError credentials.
    """
    if not WORKSPACE.fullmatch(id):
        raise shell.SkillError("usage", f"{shell.clean(id, 60)!r} is no workspace id", hint="aws amp list-workspaces: ws-...")
    where = _region(region)
    domain = "amazonaws.com.cn" if where.startswith("cn-") else "amazonaws.com"
    named = os.environ.get("AWS_ENDPOINT_URL_AMP")
    base = named.rstrip("/") if named else f"https://aps-workspaces.{where}.{domain}"
    _refuse_stranger(base)
    arn = f"arn:aws{'-cn' if where.startswith('cn-') else ''}:aps:{where}:*:workspace/{id}"
    return Place(f"{base}/workspaces/{id}", Sigv4(_credentials(), where), arn)


def _refuse_stranger(base: str) -> None:
    """A signature and a session's token go to AWS over TLS, or to this very machine, and nowhere else."""
    refuse_address(base)
    parts = urlsplit(base)
    host = parts.hostname or ""
    if LOOPBACK.fullmatch(host) or (parts.scheme == "https" and AWS_HOST.search(host)):
        return
    what = f"AWS_ENDPOINT_URL_AMP leads to {shell.clean(host, 80)}: credentials go to AWS over https, or to this machine"
    raise shell.SkillError("usage", what, hint="unset it; for a Prometheus of your own: --url")


def _region(region: str | None) -> str:
    import boto3

    found = region or os.environ.get("AWS_REGION") or None
    with aws.asking("find the region"):
        found = found or boto3.session.Session().region_name
    if not found or not REGION.fullmatch(found):
        raise shell.SkillError("usage", f"{shell.clean(str(found), 40)!r} is no region of AWS", hint="--region us-east-1")
    return found


def _credentials() -> Any:
    import boto3
    import botocore.exceptions

    with aws.asking("sign the query"):
        found = boto3.session.Session().get_credentials()
        if found is None:
            raise botocore.exceptions.NoCredentialsError
        return found.get_frozen_credentials()
