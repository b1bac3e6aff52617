"""A small API server on loopback that serves the pods, the job and the logs of one run: for what a real cluster does not do on demand.

Clocks that differ, a log of a gigabyte, a line of 100 MB, a log that is gone, a server that goes away. The documents are those of a real
API server (1.36) as far as the program reads them.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]
Log = bytes | Callable[[], Iterator[bytes]]
NAMESPACE = "ml"


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def nano(seconds: float) -> str:
    whole = datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{round(seconds % 1 * 1e9) % 10**9:09d}Z"


def log_of(lines: list[tuple[float, str]]) -> bytes:
    """As the kubelet answers with timestamps=true."""
    return b"".join(f"{nano(time)} {text}\n".encode() for time, text in lines)


@dataclass
class Api:
    """What it serves now; a test changes it while the program runs."""

    pods: list[Object] = field(default_factory=list)
    objects: dict[str, Object] = field(default_factory=dict)
    logs: dict[tuple[str, bool], Log] = field(default_factory=dict)
    """(pod, previous) -> all of its log; what is missing here is refused as by a kubelet."""
    clock_ahead_s: float = 0.0
    """Of the server, before this machine's."""
    away: bool = False
    token: str | None = None
    """The only one that is let in."""
    refused: tuple[str, ...] = ()
    """Plurals that this user may not read."""
    asked: list[str] = field(default_factory=list)
    address: str = ""
    events: list[Object] = field(default_factory=list)

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path == "/version":
            return 200, {"gitVersion": "v1.36.3"}
        parts = path.strip("/").split("/")
        below = parts[2:] if parts[0] == "api" else parts[3:]
        plural, name, *_ = [*(below[2:] if below[0] == "namespaces" else below), None]
        assert plural is not None
        if plural in self.refused:
            group = "" if parts[0] == "api" else parts[1]
            message = f'{plural}.{group} is forbidden: User "u" cannot get resource "{plural}" in API group "{group}" in the namespace "{NAMESPACE}"'
            return 403, refusal(403, "Forbidden", message)
        if plural == "events":
            return 200, listed(self.events)
        if plural == "pods" and name is None:
            return 200, listed([pod for pod in self.pods if fits(pod, query.get("labelSelector", [""])[0])])
        if name is None:
            return 200, listed([thing for at, thing in self.objects.items() if at.startswith(path + "/")])
        if path in self.objects:
            return 200, self.objects[path]
        return 404, refusal(404, "NotFound", f"{plural} {name} not found")

    def log(self, pod: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        previous = query.get("previous") == ["true"]
        found = self.logs.get((pod, previous))
        if found is None:
            what = "previous terminated container not found" if previous else "container is waiting to start"
            return 400, refusal(400, "BadRequest", what)
        if not isinstance(found, bytes):
            return 200, found()
        lines = found.splitlines(keepends=True)
        if since := query.get("sinceTime"):
            lines = [line for line in lines if line[:19].decode() >= since[0][:19]]
        if tail := query.get("tailLines"):
            lines = lines[-int(tail[0]) :]
        return 200, iter([b"".join(lines)])


def fits(thing: Object, selector: str) -> bool:
    labels = thing["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, _, value in (each.partition("=") for each in selector.split(",") if each))


def listed(items: list[Object]) -> Object:
    return {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}


def refusal(code: int, reason: str, message: str) -> Object:
    return {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}


def handler_of(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            at = urlsplit(self.path)
            api.asked.append(self.path)
            if api.away:
                return self._say(503, refusal(503, "ServiceUnavailable", "etcd is unreachable"))
            if api.token is not None and self.headers.get("authorization") != f"Bearer {api.token}":
                return self._say(401, refusal(401, "Unauthorized", "Unauthorized"))
            query = parse_qs(at.query)
            if at.path.endswith("/exec"):
                message = (
                    'pods "x" is forbidden: User "u" cannot create resource "pods/exec" in API group "" in the namespace "ml"'
                )
                return self._say(403, refusal(403, "Forbidden", message))
            code, document = api.log(at.path.split("/")[-2], query) if at.path.endswith("/log") else api.answer(at.path, query)
            if isinstance(document, dict):
                return self._say(code, document)
            self._head(code, "text/plain", None)
            for part in document:  # in chunks, as the real one sends a log: who reads it sees that it broke off
                if part:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")

        def _say(self, code: int, document: Object) -> None:
            body = json.dumps(document).encode()
            self._head(code, "application/json", len(body))
            self.wfile.write(body)

        def _head(self, code: int, content: str, length: int | None) -> None:
            self.send_response_only(code)
            self.send_header("date", formatdate(time.time() + api.clock_ahead_s, usegmt=True))
            self.send_header("content-type", content)
            framing = ("transfer-encoding", "chunked") if length is None else ("content-length", str(length))
            self.send_header(*framing)
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            """Nothing on stderr."""

    return Handler


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *words: Any) -> None:
        """A reader that has enough hangs up."""


@contextmanager
def serving(api: Api) -> Iterator[Api]:
    with Quiet(("127.0.0.1", 0), handler_of(api)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        api.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()


def write_kubeconfig(path: Path, api: Api, token: str = "t") -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "played",
        "contexts": [{"name": "played", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
        "clusters": [{"name": "c", "cluster": {"server": api.address}}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    path.write_text(json.dumps(document))
    return path
