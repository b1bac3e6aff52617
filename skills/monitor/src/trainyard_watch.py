"""Seeing objects change: a list, then a watch that goes on from the resourceVersion where the connection broke.

`make kit` copies this file; edit it in skills/kit/ only. The protocol: Kubernetes API concepts, "Efficient detection of changes".
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import trainyard_shell as shell
from trainyard_kube import ApiError, Cluster, Object, may_return

Answer = TypeVar("Answer")
RETRY_S = 1.0
SIGNED_OUT_S = 30.0
"""The longest pause between two tries without credentials: each may start a command and ask a server that has more to do."""
WATCH_S = 300.0
"""The server ends a watch after this long by itself; ours goes on at once."""
MAX_LINE_BYTES = 16 << 20
"""Of one object; etcd keeps none of more than 1.5 MB."""
KINDS = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR")


class _Patience:
    """Trouble is told once, however often it is tried; without credentials the pauses grow."""

    def __init__(self, deadline: float) -> None:
        self.deadline, self._told, self._pause_s = deadline, "", RETRY_S

    def tell(self, error: shell.SkillError) -> float:
        """Seconds to the next try."""
        if not self._told:
            shell.progress(f"{error}; waiting for it" + (f" ({error.hint})" if error.code == "credentials" else ""))
        self._told = error.code
        pause_s = self._pause_s if error.code == "credentials" else RETRY_S
        self._pause_s = min(2 * self._pause_s, SIGNED_OUT_S)
        return max(0.0, min(pause_s, self.deadline - time.monotonic()))

    def over(self) -> None:
        self._told, self._pause_s = "", RETRY_S


def follow(cluster: Cluster, path: str, deadline: float, **selectors: Any) -> Iterator[tuple[str, Object]]:
    """(ADDED | MODIFIED | DELETED | TICK, object) until `deadline` (time.monotonic()); the caller breaks off when it has seen enough.

    Begins with ADDED for all that is there. An API server that goes away is waited for, and so are credentials that have ended;
    after 410 Gone the collection is listed anew, so that ADDED may come again and DELETED may be missing: RELISTED with an empty
    object comes before. TICK with an empty object comes at least every few seconds, for callers that have a clock of their own to
    look at. An object has a name, a uid and a resourceVersion, all text.
    """
    version, patience, quiet = "", _Patience(deadline), False
    while time.monotonic() < deadline:
        try:
            if not version:
                listed = ""
                for page in cluster.pages(path, **selectors):
                    listed = _version(cluster, page)
                    yield from (("ADDED", _whole(cluster, item)) for item in page["items"] or [])
                version = listed  # only now: a list that broke off is begun again
            began = time.monotonic()
            for kind, thing in _events(cluster, path, version, deadline, selectors):
                patience.over()
                quiet = kind == "TICK"
                if kind == "ERROR":
                    raise _error(thing, path)
                if kind != "TICK":
                    version = _version(cluster, thing)
                if kind != "BOOKMARK":
                    yield kind, thing if kind == "TICK" else _whole(cluster, thing)
            if quiet and time.monotonic() - began < RETRY_S:  # who ends a watch at once is not asked without a pause
                yield from _pause(RETRY_S, deadline)
        except shell.SkillError as error:
            if isinstance(error, ApiError) and error.status == 410:
                version = ""
                yield "RELISTED", {}
                yield from _pause(RETRY_S, deadline)
            elif may_return(error):
                yield from _pause(patience.tell(error), deadline)
            else:
                raise


def patiently(look: Callable[[], Answer], deadline: float) -> Answer:
    """What `look` answers. An API server that is away is waited for, as `follow` does; raises its error at the deadline."""
    patience = _Patience(deadline)
    while True:
        try:
            return look()
        except shell.SkillError as error:
            if not may_return(error) or time.monotonic() >= deadline:
                raise
            time.sleep(patience.tell(error))


def _pause(pause_s: float, deadline: float) -> Iterator[tuple[str, Object]]:
    until = min(time.monotonic() + pause_s, deadline)
    yield "TICK", {}
    while (left_s := until - time.monotonic()) > 0:
        time.sleep(min(RETRY_S, left_s))
        yield "TICK", {}


def _error(status: Object, path: str) -> ApiError:
    """What the server says in the stream itself."""
    code = status.get("code")
    number = code if isinstance(code, int) and 400 <= code < 600 else 500
    return ApiError(number, str(status.get("reason")), shell.clean(str(status.get("message")), 500), "GET", path)


def _version(cluster: Cluster, thing: Object) -> str:
    meta = thing.get("metadata")
    version = meta.get("resourceVersion") if isinstance(meta, dict) else None
    if not isinstance(version, str) or not version:
        raise cluster.garbled("an answer without a resourceVersion")
    return version


def _whole(cluster: Cluster, thing: Any) -> Object:
    meta = thing.get("metadata") if isinstance(thing, dict) else None
    if not isinstance(meta, dict) or not all(isinstance(meta.get(name), str) for name in ("name", "uid", "resourceVersion")):
        raise cluster.garbled("an object without a name or a resourceVersion")
    return dict(thing)


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
            if len(rest) > MAX_LINE_BYTES:
                raise cluster.garbled(f"an object of more than {MAX_LINE_BYTES >> 20} MiB")
            yield from (_event(cluster, line) for line in lines if line)
    finally:
        response.close()


def _event(cluster: Cluster, line: bytes) -> tuple[str, Object]:
    event = cluster.parsed(line)
    kind, thing = event.get("type"), event.get("object")
    if kind not in KINDS or not isinstance(thing, dict):
        raise cluster.garbled("a watch with lines that are no events")
    return str(kind), thing
