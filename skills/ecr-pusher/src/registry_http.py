"""Requests to one repository of a registry: signed in, bounded, tried again, and each refusal as an exit code.

Source: the OCI distribution specification; what ECR does otherwise stands where it matters.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import push_names
import trainyard_aws as aws
import trainyard_shell as shell
from push_patience import AGAIN, Patience
from pushed.image import MAX_MANIFEST_BYTES

CONNECT_S, READ_S = 30, 120
"""The first also holds for each 256 kB that are sent."""
SEND_BYTES = 256 << 10
BUSY = {429, 500, 502, 503, 504}
LOST = {"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "DIGEST_INVALID"}
"""Of an upload whose bytes were verified here: it begins again."""
MOVED = {301, 302, 303, 307, 308}


class Token(Protocol):
    """What signs a request in."""

    def get(self) -> str: ...

    def refresh(self, used: str) -> None:
        """A new one in the place of `used`, unless another thread has fetched it."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str] = field(repr=False)
    """Names in small letters."""
    body: bytes = field(repr=False)

    def is_signed_out(self) -> bool:
        """ECR has answered 403 to an expired token too."""
        return self.status == 401 or (self.status == 403 and "token has expired" in self.error()[1])

    def error(self) -> tuple[str, str]:
        """(code, message) of the first error in it, as the specification writes it."""
        try:
            first = json.loads(self.body)["errors"][0]
            return shell.clean(str(first.get("code", "")), 60), shell.clean(str(first.get("message", "")), 600)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return "", shell.clean(self.body[:300].decode(errors="replace"))


class Broken(Exception):
    """The connection broke or the registry is busy: the same again may work."""


class TagTaken(shell.SkillError):
    """The tag is another image's and cannot be moved."""


class Registry:
    """A repository behind `host`. Threads may share it."""

    def __init__(self, host: str, repository: str, token: Token, patience: Patience, arn: str, connections: int = 4) -> None:
        scheme = "http" if push_names.is_loopback(host) else "https"
        self.base = f"{scheme}://{host}/v2/{repository}/"
        self.host, self.repository, self.arn = host, repository, arn
        self.token, self.patience = token, patience
        self.session = session(connections, is_local=scheme == "http")

    def close(self) -> None:
        self.session.close()

    def url(self, path: str) -> str:
        """Of this registry; a Location from it may be relative, but leads nowhere else, for the token goes with it."""
        url = urljoin(self.base, path)
        if urlsplit(url)[:2] != urlsplit(self.base)[:2]:
            where = shell.clean(urlsplit(url).netloc, 100)
            raise shell.SkillError(
                "unreachable", f"{self.host} sends the upload to {where}", hint="a proxy that changes Location?"
            )
        return url

    def ask(self, method: str, path: str, *, ok: Iterable[int], action: str, body: bytes = b"", **headers: str) -> Answer:
        """A request that may be repeated. Raises SkillError: unreachable after all tries, or what the registry refused."""
        for attempt in range(self.patience.tries):
            try:
                answer = self.once(method, path, ok=ok, action=action, body=body, **headers)
            except Broken as error:
                if attempt + 1 == self.patience.tries:
                    raise self.unreachable(method, str(error)) from error
                self.patience.pause(attempt)
            else:
                return answer
        raise AssertionError("the loop returns or raises")

    def once(self, method: str, path: str, *, ok: Iterable[int], action: str, body: Any = b"", **headers: str) -> Answer:
        """One try, and more with a new token where the old one has expired and the body can be sent again. Raises Broken, SkillError."""
        for is_last in (False, False, True):  # another thread may have used up what was fetched for this one
            token = self.token.get()
            answer = self._request(method, self.url(path), token, body, headers)
            if answer.status in ok:
                return answer
            # a HEAD's 403 has no text that says whether the token has expired or a permission is missing
            if is_last or not (answer.is_signed_out() or (answer.status == 403 and method == "HEAD")):
                break
            self.token.refresh(token)
            if not isinstance(body, bytes):
                raise Broken("the sign-in has expired")
        if method in ("PATCH", "PUT") and "/uploads/" in path and answer.error()[0] in LOST:
            raise Broken(f"the upload is lost: {answer.error()[0]}")
        if answer.status in BUSY:
            raise Broken(f"the registry answered {answer.status}: {answer.error()[1]}")
        raise self.refusal(answer, method, action)

    def _request(self, method: str, url: str, token: str, body: Any, headers: dict[str, str]) -> Answer:
        import requests

        self.patience.check()
        sent = {"Accept-Encoding": "identity", **{name.replace("_", "-"): value for name, value in headers.items()}}

        def sign(request: Any) -> Any:
            request.headers["Authorization"] = f"Basic {token}"
            return request

        try:
            with self.session.request(
                method, url, data=body, headers=sent, auth=sign, timeout=(CONNECT_S, READ_S), allow_redirects=False, stream=True
            ) as response:
                return Answer(response.status_code, {k.lower(): v for k, v in response.headers.items()}, self._body(response))
        except requests.exceptions.SSLError as error:
            hint = "a proxy with its own certificate? AWS_CA_BUNDLE=/path/to/ca.pem"
            raise shell.SkillError("unreachable", f"{self.host}: {told(error)}", hint=hint) from error
        except (requests.exceptions.RequestException, OSError) as error:
            raise Broken(told(error)) from error

    def _body(self, response: Any, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        found = bytearray()
        for piece in response.iter_content(65536):
            self.patience.check()
            found += piece
            if len(found) > limit:
                raise shell.SkillError(
                    "unreachable", f"{self.host} answered with more than {limit} bytes", hint="is it the registry?"
                )
        return bytes(found)

    def elsewhere(self, location: str) -> bytes:
        """What a redirect leads to: ECR keeps blobs in S3. The token stays here."""
        import requests

        url = urljoin(self.base, location)
        parts = urlsplit(url)
        if parts.scheme != "https" and not push_names.is_loopback(parts.netloc):
            raise shell.SkillError(
                "unreachable", f"{self.host} leads to a place without TLS", hint="a proxy that changes Location?"
            )
        try:
            # `auth`: requests would look into ~/.netrc
            with self.session.get(
                url, auth=lambda request: request, timeout=(CONNECT_S, READ_S), allow_redirects=False, stream=True
            ) as response:
                if response.status_code != 200:
                    raise Broken(f"{parts.netloc} answered {response.status_code}")
                return self._body(response)
        except (requests.exceptions.RequestException, OSError) as error:
            raise Broken(told(error)) from error

    def unreachable(self, what: str, why: str) -> shell.SkillError:
        message = f"{self.host} broke off {self.patience.tries} times ({what} in {self.repository}): {why}"
        return shell.SkillError("unreachable", message, hint=AGAIN, retryable=True)

    def refusal(self, answer: Answer, method: str, action: str) -> shell.SkillError:
        """What an answer that is neither expected nor passing means."""
        code, text = answer.error()
        message = f"{self.host} refused {method} in {self.repository}: {answer.status} {code} {text}".rstrip()
        if answer.is_signed_out():
            return shell.SkillError("credentials", message, hint=aws.SIGN_IN)
        if answer.status == 403:
            return shell.SkillError("permission", message, hint=aws.allowing(text, action, self.arn))
        if code == "NAME_UNKNOWN":
            return shell.SkillError("not-found", message, hint=f"push_image.py ensure-repo {self.repository}, or push --create")
        if "immutable" in text and code in ("TAG_INVALID", "TAG_IMMUTABLE", "DENIED"):
            return TagTaken("conflict", message, hint="another tag: an immutable one keeps its image")
        if code in ("MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN") and method == "PUT":
            return shell.SkillError("unreachable", message, hint=AGAIN, retryable=True)
        if answer.status == 404:
            return shell.SkillError("not-found", message, hint="is the name right, and the region?")
        return shell.SkillError("usage", message, hint="the registry does not take this image: correct what the message names")


def told(error: Exception) -> str:
    """What broke, without the URL: that of a layer in S3 is signed, and whoever has it may read the layer."""
    text = re.sub(r"(with url: |://)[^ )]*", r"\1...", str(error))
    return shell.clean(f"{type(error).__name__}: {text}", 300)


def session(connections: int, *, is_local: bool) -> Any:
    """A pool of connections. The environment's proxies and certificates hold, except for a registry on this machine."""
    import requests.adapters

    class Pooled(requests.adapters.HTTPAdapter):
        def init_poolmanager(self, *args: Any, **options: Any) -> None:
            super().init_poolmanager(*args, **options, blocksize=SEND_BYTES)

    found = requests.Session()
    found.trust_env = not is_local
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    if bundle:
        found.verify = bundle
    for scheme in ("http://", "https://"):
        found.mount(scheme, Pooled(pool_connections=2, pool_maxsize=connections))
    return found
