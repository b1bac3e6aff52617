"""Seeing objects change: a list, then a watch that goes on from the resourceVersion where the connection broke.

`make kit` copies this file; edit it in skills/kit/ only. The protocol: Kubernetes API concepts, "Efficient detection of changes".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import trainyard_shell as shell
from trainyard_kube import ApiError, Cluster, Object

Answer = TypeVar("Answer")
RETRY_S = 1.0
WATCH_S = 300.0
"""The server ends a watch after this long by itself; ours goes on at once."""


def follow(cluster: Cluster, path: str, deadline: float, **selectors: Any) -> Iterator[tuple[str, Object]]:
    """(ADDED | MODIFIED | DELETED | TICK, object) until `deadline` (time.monotonic()); the caller breaks off when it has seen enough.

    Begins with ADDED for all that is there. An API server that goes away is waited for; after 410 Gone the collection is listed
    anew, so that ADDED may come again and DELETED may be missing: RELISTED with an empty object comes before. TICK with an empty
    object comes at least every few seconds, for callers that have a clock of their own to look at.
    """
    version, away = "", False
    while time.monotonic() < deadline:
        try:
            if not version:
                listed = ""
                for page in cluster.pages(path, **selectors):
                    listed = page["metadata"]["resourceVersion"]
                    yield from (("ADDED", item) for item in page["items"] or [])
                version = listed  # only now: a list that broke off is begun again
            for kind, thing in _events(cluster, path, version, deadline, selectors):
                away = False
                if kind == "ERROR":
                    raise ApiError(
                        int(thing.get("code") or 500), str(thing.get("reason")), str(thing.get("message")), "GET", path
                    )
                if kind != "TICK":
                    version = thing["metadata"]["resourceVersion"]
                if kind != "BOOKMARK":
                    yield kind, thing
        except ApiError as error:
            if error.status == 410:
                version = ""
                yield "RELISTED", {}
            elif error.status < 429:
                raise
            yield from _wait(deadline)
        except shell.SkillError as error:
            if error.code != "unreachable":
                raise
            if not away:  # said once, however often it is tried
                shell.progress(f"{error}; waiting for it")
            away = True
            yield from _wait(deadline)


def patiently(look: Callable[[], Answer], deadline: float) -> Answer:
    """What `look` answers. An API server that is away is waited for, as `follow` does; raises SkillError unreachable at the deadline."""
    told = False
    while True:
        try:
            return look()
        except shell.SkillError as error:
            if error.code != "unreachable" or time.monotonic() >= deadline:
                raise
            if not told:
                shell.progress(f"{error}; waiting for it")
            told = True
        time.sleep(max(0.0, min(RETRY_S, deadline - time.monotonic())))


def _wait(deadline: float) -> Iterator[tuple[str, Object]]:
    yield "TICK", {}
    time.sleep(max(0.0, min(RETRY_S, deadline - time.monotonic())))


def _events(
    cluster: Cluster, path: str, version: str, deadline: float, selectors: dict[str, Any]
) -> Iterator[tuple[str, Object]]:
    """The events of one connection; ends when the server or the network does."""
    import urllib3

    query = {
        **selectors,
        "watch": "1",
        "resourceVersion": version,
        "allowWatchBookmarks": "true",
        "timeoutSeconds": int(WATCH_S),
    }
    response = cluster.open("GET", path, query, read_s=2.0)
    rest = b""
    try:
        while time.monotonic() < deadline:
            try:
                part = response.read1() if hasattr(response, "read1") else response.read(65536)
            except (urllib3.exceptions.HTTPError, OSError):  # broken, or quiet for a while: then urllib3 has closed the stream
                part = b""
            if not part:  # the next connection goes on from the same version
                yield "TICK", {}
                return
            *lines, rest = (rest + part).split(b"\n")
            for line in filter(None, lines):
                event = cluster.parsed(line)
                yield event["type"], event["object"]
    finally:
        response.close()
