"""Serves the newest look at /metrics, for Prometheus to scrape: on loopback unless another address is given."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import trainyard_shell as shell
from metrics_page.page import page, stale_page

CONTENT = "text/plain; version=0.0.4; charset=utf-8"
AT_ONCE = 16
"""Connections; a scraper has one."""
SOCKET_S = 10.0
STALE_LOOKS, STALE_S = 5, 60.0
"""After so many intervals, and at least so many seconds, without a look the values are not shown any more."""


class MetricsServer:
    """Raises SkillError conflict where the port is taken, usage where the address is not this machine's."""

    def __init__(self, host: str, port: int, interval_s: float) -> None:
        self.stale_s = max(STALE_S, STALE_LOOKS * interval_s)
        self._text, self._looked, self._run = "", 0.0, ""
        self._run_id: str | None = None
        try:
            self._server = _Server((host, port), type("Handler", (_Handler,), {"show": self.text}))
        except OSError as error:
            hint = "another port; 0 takes a free one"
            raise shell.SkillError(
                "conflict", f"{host}:{port} cannot be served: {error.strerror or error}", hint=hint
            ) from error
        self.address = f"http://{host}:{self._server.server_port}/metrics"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
        self._thread.start()

    def look(
        self, data: dict[str, Any], checks: list[shell.Check], now: float, run_id: str | None, account: dict[str, Any] | None
    ) -> None:
        text = page(data, checks, now=now, run_id=run_id, account=account)
        self._run, self._run_id = str(data.get("name") or ""), run_id
        self._text, self._looked = text, time.monotonic()

    def text(self) -> str:
        """Empty before the first look."""
        age_s = time.monotonic() - self._looked
        if self._text and age_s > self.stale_s:
            return stale_page(time.time() - age_s, self._run, self._run_id)
        return self._text

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(*arguments)

    def server_bind(self) -> None:
        """As of any TCP server: http.server asks the DNS for this machine's name, which may take long and is of no use."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "trainyard", int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who hangs up in the middle is nobody's trouble."""


class _Handler(BaseHTTPRequestHandler):
    timeout = SOCKET_S
    server_version, sys_version = "trainyard", ""

    show: ClassVar[Callable[[], str]]
    """Of the server that it belongs to."""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, "text/plain", b"there is /metrics\n")
        else:
            self._answer(200, CONTENT, type(self).show().encode())

    def _answer(self, status: int, content: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """stderr is for the person who watches."""
