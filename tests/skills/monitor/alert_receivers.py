"""Receivers of alerts: a program that keeps what it reads, and a server that answers as it is told."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

KEEPS = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read() + chr(10))"


def keeping(file: Path) -> str:
    """Words of --alert-command: each alert becomes a line of `file`."""
    return f'{sys.executable} -c "{KEEPS}" {file}'


def kept(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@dataclass
class Hook:
    url: str = ""
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Status and headers, one after the other; then 200."""
    delay_s: float = 0.0
    posted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Path and document."""


@contextmanager
def hook() -> Iterator[Hook]:
    told = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            told.posted.append((self.path, json.loads(body)))
            time.sleep(told.delay_s)
            status, headers = told.answers.pop(0) if told.answers else (200, {})
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    told.url = f"http://127.0.0.1:{server.server_port}/hook"
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
