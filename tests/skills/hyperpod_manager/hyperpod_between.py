"""A wire between the program and AWS. What a real network does between a request and its answer: it keeps, loses or changes one."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

Change = Callable[[dict[str, Any]], dict[str, Any]]
HOLD_S = 20.0


class Between:
    def __init__(self, endpoint: str) -> None:
        self.target = urlsplit(endpoint).netloc
        self.kept: dict[str, str] = {}
        """Operation -> before: never handed on; after: done, and the answer kept; lost: done, and the connection broken."""
        self.changes: dict[str, Change] = {}
        self.seen: list[str] = []
        self.arrived = threading.Event()
        """A call that is kept has come, and is done where it is to be."""
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Between:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def through(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.target, timeout=60)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            with connection.getresponse() as answer:
                return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()


def handler(wire: Between) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            operation = self.headers.get("x-amz-target", "").rpartition(".")[2]
            wire.seen.append(operation)
            mode = wire.kept.pop(operation, None)
            if mode == "before":
                return self.keep()
            status, headers, answer = wire.through("POST", self.path, dict(self.headers.items()), body)
            if mode == "after":
                return self.keep()
            if mode == "lost":
                self.close_connection = True
                return None
            if change := wire.changes.get(operation):
                answer = json.dumps(change(json.loads(answer))).encode()
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("content-length", "connection", "x-amz-crc32", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def keep(self) -> None:
            wire.arrived.set()
            wire.over.wait(HOLD_S)
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler
