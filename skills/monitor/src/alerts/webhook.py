"""A URL that alerts are posted to. It is a secret mostly, so it comes from a variable or a file, and no message holds it."""

from __future__ import annotations

import http.client
import ipaddress
import os
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import trainyard_shell as shell
from alerts.receivers import Failed
from trainyard_files import Unusable, read_regular

ONE_TRY_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
MAX_REDIRECTS = 3
MAX_URL_BYTES = 8192
USAGE = "give --webhook the name of a variable that holds the URL, or @FILE"


@dataclass(frozen=True)
class Webhook:
    url: str = field(repr=False)

    @property
    def told(self) -> str:
        return f"webhook at {urlsplit(self.url).hostname}"

    @property
    def identity(self) -> str:
        return self.url

    def deliver(self, payload: bytes, timeout_s: float) -> None:
        """Tries again after 429, 5xx and a broken connection, with growing pauses."""
        deadline, pause_s = time.monotonic() + timeout_s, FIRST_PAUSE_S
        while True:
            try:
                wait_s = _post(self.url, payload, min(ONE_TRY_S, max(0.1, deadline - time.monotonic())))
            except _Again as again:
                why, wait_s = str(again), max(again.wait_s, pause_s)
            else:
                return
            if time.monotonic() + wait_s >= deadline:
                raise Failed(f"{self.told}: {why}; no more tries within {timeout_s:.0f} s")
            time.sleep(wait_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class _Again(Exception):
    def __init__(self, why: str, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def _post(url: str, payload: bytes, timeout_s: float) -> Any:
    """Raises Failed, _Again."""
    where = url
    for _ in range(MAX_REDIRECTS + 1):
        to = _post_once(where, payload, timeout_s)
        if to is None:
            return None
        where = urljoin(where, to)
        if _origin(urlsplit(where)) != _origin(urlsplit(url)):
            raise Failed(f"webhook at {urlsplit(url).hostname}: it redirects to another host, which is not followed")
    raise Failed(f"webhook at {urlsplit(url).hostname}: it redirects without end")


def _post_once(url: str, payload: bytes, timeout_s: float) -> str | None:
    """Where it is to be posted instead; None: it has arrived."""
    host = urlsplit(url).hostname
    request = urllib.request.Request(
        url, payload, {"content-type": "application/json", "user-agent": "trainyard"}, method="POST"
    )
    try:
        with _opener(url).open(request, timeout=timeout_s) as answer:
            answer.read(1)
        return None
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (307, 308) and error.headers.get("location"):
                return str(error.headers["location"])
            if error.code == 429 or error.code >= 500:
                raise _Again(f"HTTP {error.code}", _patience(error)) from None
            raise Failed(f"webhook at {host}: HTTP {error.code}") from None
    except urllib.error.URLError as error:
        raise _Again(shell.clean(str(getattr(error.reason, "strerror", None) or error.reason), 200)) from None
    except (OSError, http.client.HTTPException) as error:
        raise _Again(type(error).__name__) from None
    except ValueError as error:  # a Location, a certificate store
        raise Failed(f"webhook at {host}: {type(error).__name__}") from None


def _patience(error: urllib.error.HTTPError) -> float:
    told = error.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdigit() and len(told) < 6 else 0.0


class _Stays(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A redirect is an HTTPError: where it leads is looked at first."""


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Through the proxy of the environment, but never to this machine."""
    direct = [urllib.request.ProxyHandler({})] if is_loopback(urlsplit(url)) else []
    return urllib.request.build_opener(_Stays, *direct)


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port


def is_loopback(url: SplitResult) -> bool:
    if url.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(url.hostname or "").is_loopback
    except ValueError:
        return False


def webhook_of(text: str) -> Webhook:
    """`text`: the name of a variable, or @FILE. Raises SkillError: usage, not-found; the URL is in no message."""
    if "/" in text.partition("@")[0] or ":" in text.partition("@")[0]:
        raise shell.SkillError("usage", "a webhook's URL is a secret and stands in no argument", hint=USAGE)
    url = _from_file(Path(text[1:])) if text.startswith("@") else os.environ.get(text, "").strip()
    source = f"file {text[1:]}" if text.startswith("@") else f"variable {text}"
    if not url:
        raise shell.SkillError("not-found", f"the {shell.clean(source, 200)} holds no URL", hint=USAGE)
    try:
        parts = urlsplit(url)
        fits = (
            bool(parts.hostname)
            and parts.port != 0
            and "@" not in parts.netloc
            and url.isascii()
            and url.isprintable()
            and " " not in url
        )
    except ValueError:
        fits = False
    if not fits:
        raise shell.SkillError(
            "usage", f"the {source} does not hold a URL that can be used", hint="https://HOST/PATH, without user and password"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts)):
        raise shell.SkillError(
            "usage", f"the URL of the {source} is not https, and not on this machine", hint="https://HOST/PATH"
        )
    return Webhook(url)


def _from_file(path: Path) -> str:
    try:
        return read_regular(path, MAX_URL_BYTES).decode().strip()
    except (OSError, Unusable, UnicodeDecodeError) as error:
        raise shell.SkillError("not-found", f"the file of --webhook cannot be read: {error}", hint=USAGE) from error
