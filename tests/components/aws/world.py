"""What the stand-in remembers between two resets, and where its servers are."""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import threading
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.components.aws.wire.passing import asked
from tests.components.aws.wire.refused import Refused

if TYPE_CHECKING:
    from tests.components.aws.ecr.images import Repository
    from tests.components.aws.ecr.tokens import Tokens
    from tests.components.aws.iam.principals import Principal
    from tests.components.aws.wire.json_service import Call

ACCOUNT = "123456789012"
ROOT_KEY, ROOT_SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
"""The keys of AWS's documentation: here the account's root, which may do everything."""
REGIONS = ("us-east-1", "us-west-2", "eu-central-1")
"""Their registries listen from the start; another region's is opened when it is first named."""


@dataclass(frozen=True)
class Action:
    """One call that was made, whether it was allowed or not."""

    caller: str
    """ARN."""
    key: str
    """Access key id."""
    action: str
    """As a policy names it: ecr:PutImage."""
    resource: str
    allowed: bool


@dataclass(eq=False)
class World:
    moto_port: int
    storage_port: int
    """docker-registry: blobs, and the check that a manifest's blobs are there."""
    folder: Path
    """Layers on their way, the sources of builds. Emptied by a reset."""
    build_environment: dict[str, str] = field(default_factory=dict)
    """What a build finds besides CodeBuild's own variables: PATH, DOCKER_HOST, BUILDKIT_HOST."""
    port: int = 0
    """The endpoint's own."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    registry_ports: dict[str, int] = field(default_factory=dict)
    """Region -> port of its registry."""
    open_registry: Any = None
    """Set by the server: starts a region's registry and returns its port."""

    def __post_init__(self) -> None:
        self.serial = itertools.count(1)
        self.forget()

    def forget(self) -> None:
        """Everything of the test before; moto's own state is reset by `reset`."""
        from tests.components.aws.codebuild.state import CodeBuildState
        from tests.components.aws.ecr.cuts import Cuts
        from tests.components.aws.ecr.tokens import Tokens
        from tests.components.aws.sagemaker.state import HyperPodState
        from tests.components.aws.wire.failing import Failures

        self.actions: list[Action] = []
        self.bucket_policies: dict[str, bytes] = {}
        self.principals: dict[str, Principal] = {}
        """Access key id -> whose it is; forgotten when something of IAM is called."""
        self.repositories: dict[tuple[str, str], Repository] = {}
        """(region, name) -> what it holds; whether it exists is moto's to say."""
        self.secrets: dict[str, str] = {ROOT_KEY: ROOT_SECRET}
        """Access key id -> secret, of the keys that were given out."""
        self.part_bytes: dict[str, list[int]] = {}
        """Upload id -> the length of each part of a layer."""
        self.account_settings: dict[tuple[str, str], str] = {}
        self.credentials: dict[str, Callable[[], dict[str, str]]] = {}
        """Path at the endpoint -> the credentials that a build finds there."""
        self.codebuild = CodeBuildState()
        self.hyperpod = HyperPodState()
        self.tokens: Tokens = Tokens()
        self.cuts = Cuts()
        self.failures = Failures()

    def reset(self) -> None:
        self.codebuild.end()
        with self.lock:
            self.forget()
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        request = urllib.request.Request(f"http://127.0.0.1:{self.moto_port}/moto-api/reset", method="POST")
        urllib.request.urlopen(request, timeout=30).close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def registry_host(self, region: str) -> str:
        """host:port of the region's registry, as image names begin."""
        with self.lock:
            if region not in self.registry_ports:
                self.registry_ports[region] = self.open_registry(region)
            return f"127.0.0.1:{self.registry_ports[region]}"

    def ask_moto(self, call: Call) -> dict[str, Any]:
        """moto's answer to the same request. Raises Refused with moto's error."""
        return self.moto_json(call.headers["X-Amz-Target"], call.region, call.caller.service, call.request)

    def moto_json(self, target: str, region: str, service: str, request: dict[str, Any]) -> dict[str, Any]:
        body = json.dumps(request).encode()
        scope = (
            f"AWS4-HMAC-SHA256 Credential={ROOT_KEY}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
        )
        headers = {
            "Authorization": scope,
            "X-Amz-Target": target,
            "Content-Type": "application/x-amz-json-1.1",
            "Content-Length": str(len(body)),
        }
        with asked(self.moto_port, "POST", "/", headers, [body]) as answer:
            got = answer.read()
            if answer.status >= 500:
                raise Refused("InternalFailure", f"moto cannot answer {target}: {got[:300]!r}", 500)
            document = json.loads(got or b"{}")
            if answer.status != 200:
                raise Refused(document.get("__type", "").split("#")[-1], document.get("message") or document.get("Message", ""))
        return dict(document)

    @functools.cache  # noqa: B019  # one World lives as long as its process
    def moto_client(self, service: str, region: str) -> Any:
        """boto3's client of moto itself, past every check."""
        return self.client(service, region, ROOT_KEY, ROOT_SECRET, endpoint=f"http://127.0.0.1:{self.moto_port}")

    def client(self, service: str, region: str, key: str, secret: str, token: str | None = None, endpoint: str = "") -> Any:
        """boto3's client of this endpoint with these keys."""
        with self.lock:  # making clients of one session is not thread-safe
            return new_client(service, region, key, secret, token, endpoint or self.endpoint)


@functools.cache
def session() -> Any:
    """One, whose loader keeps the service models."""
    import boto3

    return boto3.session.Session()


def new_client(service: str, region: str, key: str, secret: str, token: str | None, endpoint: str) -> Any:
    """boto3's; it does not retry."""
    import botocore.config

    return session().client(
        service,
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=120),
    )
