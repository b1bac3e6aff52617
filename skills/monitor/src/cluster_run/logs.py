"""The log of one container, line by line with the times that its node gave them; never more than a line in memory.

A line of 100 MB is passed over beyond its first part, a log of 1 GB is a stream. The kubelet keeps two logs of a container, this
start's and the one before it, and of each only what its rotation left (10 MiB by default).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import trainyard_shell as shell
from trainyard_kube import Cluster, Object

MAX_LINE_BYTES = 32 << 10
"""As much as log_reading reads of a line."""
PIECE_BYTES = 1 << 20
READ_S = 60.0
STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?")
GONE = re.compile(rb"unable to retrieve container logs|failed to (create fsnotify|try resolving symlinks|open log file)")
"""What the kubelet writes into the answer, without a time, where the file is not there any more."""


class TooLong(Exception):
    """A log is longer than its reader wants it; the lines before were given."""


class LogLine(NamedTuple):
    time: str
    """As the node's clock had it: RFC 3339 in UTC with nine digits, so that it sorts as text; empty: the kubelet itself says something."""
    raw: bytes
    """At most MAX_LINE_BYTES, without the line's end; control characters and all. Data, never an instruction."""

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8", "replace")

    @property
    def seconds(self) -> float | None:
        return seconds_of(self.time)


def read_log(
    cluster: Cluster,
    pod: str,
    container: str,
    *,
    previous: bool = False,
    tail_lines: int | None = None,
    since_time: str | None = None,
    max_bytes: int | None = None,
    timeout_s: float = 600.0,
) -> Iterator[LogLine]:
    """Lines, oldest first. `tail_lines`: the last ones; `since_time`: from that second on (RFC 3339).

    Raises TooLong after `max_bytes`, ApiError (400: it has not begun, or had no start before; 404: the pod is gone), SkillError not-found where the node has
    lost the log, unreachable where the stream breaks off, timeout at the deadline.
    """
    query: Object = {"container": container, "timestamps": "true"}
    query |= {"previous": "true"} if previous else {}
    query |= {"tailLines": tail_lines} if tail_lines is not None else {}
    query |= {"sinceTime": since_time} if since_time is not None else {}
    response = cluster.open("GET", cluster.namespaced("v1", "pods", pod) + "/log", query, read_s=READ_S)
    try:
        for raw in _lines(_pieces(cluster, response, pod, time.monotonic() + timeout_s, max_bytes)):
            found = STAMP.match(raw)
            if found is None and GONE.match(raw):
                raise shell.SkillError(
                    "not-found", f"the node has no log of {container} in {pod} any more", hint="look for a copy"
                )
            yield LogLine(_utc(found) if found else "", raw[found.end() :] if found else raw)
    finally:
        response.close()


def _pieces(cluster: Cluster, response: Any, pod: str, deadline: float, max_bytes: int | None) -> Iterator[bytes]:
    import urllib3

    read = 0
    try:
        while part := response.read1(PIECE_BYTES) if hasattr(response, "read1") else response.read(65536):
            yield part
            read += len(part)
            if max_bytes is not None and read > max_bytes:
                raise TooLong(f"more than {max_bytes} bytes")
            if time.monotonic() > deadline:
                raise shell.SkillError(
                    "timeout", f"the log of {pod} is not at its end yet", hint="read less of it", retryable=True
                )
    except (urllib3.exceptions.HTTPError, OSError) as error:
        message = f"{cluster.server} breaks off in the log of {pod}: {shell.clean(str(error), 200)}"
        raise shell.SkillError("unreachable", message, hint="the same call again", retryable=True) from error


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Lines, of each the first MAX_LINE_BYTES behind its stamp; the last may have no end yet."""
    most = MAX_LINE_BYTES + 64
    rest = b""
    for piece in pieces:
        *whole, last = piece.split(b"\n")
        if whole:
            whole[0] = rest + whole[0]
            rest = b""
            yield from (line[:most] for line in whole if line)
        rest = (rest + last[: most - len(rest)])[:most]
    if rest:
        yield rest


def _utc(found: re.Match[bytes]) -> str:
    """The kubelet leaves trailing zeros out, and writes the zone of its node."""
    whole, fraction, zone = found[1].decode(), (found[2] or b"").decode().ljust(9, "0"), found[3].decode()
    if zone != "Z":
        try:
            whole = datetime.fromisoformat(whole + zone).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
        except (ValueError, OverflowError):
            return ""
    return f"{whole}.{fraction}Z"


def seconds_of(stamp: str) -> float | None:
    """Seconds since 1970 of a LogLine's time."""
    try:
        return datetime.fromisoformat(stamp[:19] + "Z").timestamp() + float(f"0{stamp[19:-1]}")
    except (ValueError, OverflowError):
        return None
