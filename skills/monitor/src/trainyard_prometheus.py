"""One question to a Prometheus API over HTTP: bounded, with a deadline; nobody is told more than the question.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import trainyard_files
import trainyard_shell as shell

MAX_BYTES = 32 << 20
MAX_QUERY_CHARS = 4000
"""It goes into the address."""
CHUNK = 64 << 10
CONNECT_S = 5.0
TRIES, PAUSE_S = 3, 0.5


class Signer(Protocol):
    def headers(self, url: str) -> dict[str, str]: ...


@dataclass(frozen=True)
class Place:
    """Where the API is: the address before /api/v1."""

    base: str
    signer: Signer | None = None
    resource: str = "*"
    """ARN of the workspace, for the hint of a refusal."""


def server(url: str) -> Place:
    """Any Prometheus. Nothing of AWS is ever sent there. Raises SkillError usage."""
    refuse_address(url)
    if re.search(r"(^|\.)aps-workspaces\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$", urlsplit(url).hostname or ""):
        raise shell.SkillError("usage", "that is an AMP workspace: it wants a signature", hint="--workspace ws-... --region R")
    return Place(re.sub(r"/api/v1/?$", "", url).rstrip("/"))


def refuse_address(url: str) -> None:
    """Raises SkillError usage where the text is not an address of a Prometheus."""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and not re.search(r"[^!-~]", url)
    except ValueError:
        fine = False
    if not fine or parts.query or parts.fragment or parts.username or parts.password:
        what = "is no address of a Prometheus: http(s)://HOST[:PORT][/PATH], without name, password or query"
        raise shell.SkillError(
            "usage", f"{shell.clean(re.sub('//[^/@]*@', '//...@', url), 100)!r} {what}", hint="--url http://HOST:9090"
        )


def ask(place: Place, path: str, query: dict[str, str], timeout_s: float) -> tuple[int, dict[str, Any]]:
    """(HTTP status, the JSON object). 429 and 503 are asked again while there is time.

    Raises SkillError unreachable (no answer, no JSON, too long, a redirect), timeout, usage.
    """
    if len(query.get("query", "")) > MAX_QUERY_CHARS:
        raise shell.SkillError("usage", f"the query is longer than {MAX_QUERY_CHARS} characters", hint="a shorter one")
    url = f"{place.base}/api/v1/{path}?" + "&".join(f"{key}={quote(value, safe='-_.~')}" for key, value in query.items())
    deadline = time.monotonic() + timeout_s
    for attempt in range(1, TRIES + 1):
        status, kind, body = _get(place, url, deadline)
        if status not in (429, 503) or attempt == TRIES or time.monotonic() + PAUSE_S >= deadline:
            break
        shell.progress(f"{urlsplit(place.base).netloc} answers {status}; again in {PAUSE_S:g} s")
        time.sleep(PAUSE_S)
    return status, _parsed(place, status, kind, body)


def _get(place: Place, url: str, deadline: float) -> tuple[int, str, bytes]:
    """In a thread of its own: a server that sends a byte now and then, of a header too, would keep any read waiting for ever."""
    outcome: list[tuple[int, str, bytes] | Exception] = []

    def fetch() -> None:
        try:
            outcome.append(_fetched(place, url, deadline))
        except Exception as error:  # raised below, where somebody waits
            outcome.append(error)

    worker = threading.Thread(target=fetch, daemon=True)
    worker.start()
    worker.join(max(0.1, deadline - time.monotonic()))
    if not outcome:
        raise _late(place)
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _fetched(place: Place, url: str, deadline: float) -> tuple[int, str, bytes]:
    import urllib3

    headers = {"accept": "application/json", "user-agent": "trainyard"} | (place.signer.headers(url) if place.signer else {})
    left = max(0.1, deadline - time.monotonic())
    timeout = urllib3.Timeout(connect=min(CONNECT_S, left), read=left)
    try:
        with urllib3.PoolManager(retries=False, cert_reqs="CERT_REQUIRED") as pool:
            # A redirect would carry the signature and the session's token to whoever it names.
            answer = pool.request("GET", url, headers=headers, redirect=False, preload_content=False, timeout=timeout)
            with answer:
                return answer.status, answer.headers.get("content-type", ""), _body(place, answer)
    except urllib3.exceptions.HTTPError as error:
        # A refused connection is one of the timeouts there.
        if isinstance(error, urllib3.exceptions.TimeoutError) and not isinstance(error, urllib3.exceptions.NewConnectionError):
            raise _late(place) from error
        hint = "is the address right, and a network there (VPN, port-forward)? Then the same call again"
        what = f"{urlsplit(place.base).netloc} does not answer: {shell.clean(str(error), 200)}"
        raise shell.SkillError("unreachable", what, hint=hint, retryable=True) from error


def _body(place: Place, answer: Any) -> bytes:
    parts, size = [], 0
    for part in answer.stream(CHUNK, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            what = f"{urlsplit(place.base).netloc} sends more than {MAX_BYTES >> 20} MiB"
            raise shell.SkillError("unreachable", what, hint="fewer series (sum by ...), a shorter time, a longer --step")
    return b"".join(parts)


def _late(place: Place) -> shell.SkillError:
    what = f"{urlsplit(place.base).netloc} did not answer in time"
    return shell.SkillError(
        "timeout", what, hint="--timeout, a shorter time or a simpler query; the same call again", retryable=True
    )


def _parsed(place: Place, status: int, kind: str, body: bytes) -> dict[str, Any]:
    host = urlsplit(place.base).netloc
    if 300 <= status < 400:
        raise shell.SkillError(
            "unreachable",
            f"{host} sends us elsewhere (HTTP {status}), which is not followed",
            hint="--url with the right address",
        )
    try:
        document = trainyard_files.parse(body)
        if not isinstance(document, dict):
            raise trainyard_files.Unusable(f"{type(document).__name__} where an object belongs")
    except trainyard_files.Unusable as error:
        if status >= 400:  # the code says enough; a proxy's page has no more
            return {"status": "error", "error": shell.clean(body[:200].decode(errors="replace"))}
        told = f"it is {kind.partition(';')[0] or 'no type'}: {shell.clean(str(error), 120)}"
        what = f"{host} gives no answer of a Prometheus API ({told})"
        raise shell.SkillError(
            "unreachable", what, hint="is that the API's address, and not a sign-in page or Grafana?"
        ) from error
    return document
