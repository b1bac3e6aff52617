"""AWS through boto3: clients with deadlines, and each refusal as exit code, hint and the statement a policy needs.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
boto3 is imported by `client`, not with this file: it takes half a second.
"""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trainyard_shell as shell

CONNECT_S, READ_S, ATTEMPTS = 10, 60, 5
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403", "AllAccessDisabled"}
SIGNED_OUT = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "InvalidToken",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "RequestTimeTooSkewed",
    "AuthFailure",
    "OptInRequired",
}
BUSY = {"TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "InternalFailure", "RequestTimeout"}
"""Besides whatever has `Throttl` in it."""
ACTIONS = {"HeadObject": "GetObject", "HeadBucket": "ListBucket"}
"""Operations whose permission has another name, and whose refusal has no text."""
ELSEWHERE = re.compile(
    r"(?:explicit deny in an? |because no (?!identity-based))(?P<kind>[A-Za-z -]{1,60}?(?:policy|boundary))\b"
)
"""Where a statement in the caller's own policies changes nothing."""
DENIAL = re.compile(r"not authorized to perform: (?P<action>[a-z0-9-]+:[A-Za-z*]+)(?: on resource: \"?(?P<resource>[^\s\"]+))?")
SIGN_IN = "aws sso login or aws login, or set AWS_PROFILE or AWS_ACCESS_KEY_ID; `aws sts get-caller-identity` shows who you are"
REGION_OR_CLOCK = "A region that the account has not switched on answers the same, and so does a clock that is wrong"
NAME_A_REGION = "name the region: --region us-east-1, or set AWS_REGION"
NETWORK = "is the region right, and is there a network or a proxy (HTTPS_PROXY)? Then the same call again"
INSTALL_IT = "install it where this program runs: TRAINYARD_PYTHON, or what install.sh made"
CREDENTIALS = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "CredentialRetrievalError",
}
ERRORS: list[tuple[set[str], str, str]] = [
    ({"MissingDependencyException"}, "dependency", INSTALL_IT),
    (CREDENTIALS | {"RefreshWithMFAUnsupportedError", "SSOError", "LoginError"}, "credentials", SIGN_IN),
    ({"NoRegionError", "InvalidRegionError"}, "usage", NAME_A_REGION),
    (
        {"ParamValidationError", "ConfigParseError", "ConfigNotFound", "InvalidConfigError"},
        "usage",
        "correct what the message names",
    ),
    ({"HTTPClientError", "ConnectionError"}, "unreachable", NETWORK),
]
"""botocore's own exceptions by name, for not every version has each; with code and hint."""


REGISTRY = re.compile(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.[a-z.]+", re.ASCII)


def same_registry(host: str, other: str) -> bool:
    """Whether two hosts of ECR are of one account and region: FIPS and dual stack have names of their own."""
    one, two = (found.groups() if (found := REGISTRY.fullmatch(each)) else each for each in (host, other))
    return one == two


class AwsError(shell.SkillError):
    """AWS said no: `reason` is its own code (RepositoryNotFoundException, NoSuchBucket, ...).

    Left alone it ends the verb with the fitting exit code and a hint; catch it where a reason means something else.
    """

    def __init__(self, code: str, reason: str, message: str, *, hint: str = "", retryable: bool = False) -> None:
        super().__init__(code, message, hint=hint, retryable=retryable)
        self.reason = reason


def client(service: str, region: str | None = None, **config: Any) -> Any:
    """A boto3 client. `region` None: AWS_REGION, AWS_DEFAULT_REGION or the profile's. `config` goes to botocore's Config.

    Raises AwsError credentials, usage (no or a wrong region), dependency.
    """
    import os

    import botocore.config

    config = {
        "connect_timeout": CONNECT_S,
        "read_timeout": READ_S,
        "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
    } | config
    with asking(f"open {service}"), _OPENING:
        try:
            return _session().client(
                service, region_name=region or os.environ.get("AWS_REGION") or None, config=botocore.config.Config(**config)
            )
        except ValueError as error:  # of AWS_ENDPOINT_URL
            raise AwsError(
                "usage", "ValueError", f"cannot open {service}: {error}", hint="AWS_ENDPOINT_URL=https://HOST"
            ) from error


_OPENING = threading.Lock()
"""A session is not thread-safe (boto3's guide to sessions); its clients are."""


@functools.cache
def _session() -> Any:
    """One for all clients: each of its own would read AWS's endpoints again, 40 ms. As the environment says; a variable that is set
    to nothing counts as unset, where botocore looks for a profile called ''.
    """
    import os

    import boto3

    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        if os.environ.get(name) == "":
            del os.environ[name]
    return boto3.session.Session()


@contextmanager
def asking(what: str, resource: str = "*") -> Iterator[None]:
    """Around calls of a client: botocore's errors become AwsError with `cannot WHAT`.

    `resource`: the ARN that a missing permission is about, where AWS does not name one.
    """
    import botocore.exceptions as aws

    try:
        yield
    except aws.ClientError as error:
        raise refusal(error.response, error.operation_name, what, resource) from error
    except aws.BotoCoreError as error:
        kinds = {each.__name__ for each in type(error).__mro__}
        code, hint = next(
            ((code, hint) for names, code, hint in ERRORS if kinds & names), ("unreachable", "the same call again")
        )
        is_network = hint == NETWORK
        raise AwsError(code, type(error).__name__, f"cannot {what}: {error}", hint=hint, retryable=is_network) from error


def refusal(response: dict[str, Any], operation: str, what: str, resource: str) -> AwsError:
    """The AwsError of an error response."""
    said = response.get("Error", {})
    reason, text = str(said.get("Code", "")), str(said.get("Message", "") or said.get("Code", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    message = f"cannot {what}: {operation}: {reason}: {text}"
    if reason in DENIED or (status == 403 and reason not in SIGNED_OUT):
        return AwsError("permission", reason, message, hint=allowing(text, operation, resource))
    if reason in SIGNED_OUT:
        more = "" if reason.startswith("ExpiredToken") else f". {REGION_OR_CLOCK}"
        return AwsError("credentials", reason, message, hint=SIGN_IN + more)
    if reason in BUSY or "Throttl" in reason or status >= 500 or status == 429:
        return AwsError("unreachable", reason, message, hint="AWS is busy: the same call again", retryable=True)
    if "NotFound" in reason or reason.startswith("NoSuch") or status == 404:
        return AwsError("not-found", reason, message, hint="is the name right, and the region?")
    if "AlreadyExists" in reason or "InUse" in reason or "Conflict" in reason or status == 409:
        return AwsError("conflict", reason, message, hint="it exists or is being changed: look first, then repeat the call")
    return AwsError("usage", reason, message, hint="correct what the message names")


def allowing(text: str, operation: str, resource: str) -> str:
    """The hint for a refusal: the statement that a policy needs; AWS names the action in most refusals, the resource in some."""
    found, elsewhere = DENIAL.search(text), ELSEWHERE.search(text)
    named = (found["resource"] if found else None) or resource
    service = named.split(":")[2] + ":" if named.startswith("arn:") and ":" not in operation else ""
    action = found["action"] if found else service + ACTIONS.get(operation, operation)
    if elsewhere:
        return (
            f"the {elsewhere['kind']} blocks {action}: ask whoever administers it; a statement in your own policy does not help"
        )
    wanted = json.dumps({"Effect": "Allow", "Action": action, "Resource": named.rstrip(".")})
    return f"a policy needs this statement: {wanted}"
