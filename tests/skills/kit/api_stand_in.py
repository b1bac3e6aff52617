"""A small HTTP server on loopback that gives the answers which a real API server gives only when it is in trouble."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Answer = tuple[int, dict[str, str], Any]
"""HTTP status, headers, and a document (or a list of them: the lines of a watch)."""


class StandIn:
    """Gives the scripted answers one after the other and remembers what was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[str] = []
        self.address = ""

    def next_answer(self, path: str) -> Answer:
        self.asked.append(path)
        return self.answers.pop(0) if self.answers else (500, {}, status(500, "InternalError", "the script has ended"))


def status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}


def page(names: list[str], version: str = "10", token: str = "") -> dict[str, Any]:
    items = [{"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": version}} for name in names]
    return {"kind": "List", "metadata": {"resourceVersion": version, "continue": token}, "items": items}


@contextmanager
def stand_in() -> Iterator[StandIn]:
    script = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, headers, document = script.next_answer(self.path)
            lines = document if isinstance(document, list) else [document]
            body = "".join(json.dumps(line) + "\n" for line in lines).encode()
            self.send_response(code)
            for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET

        def log_message(self, *words: Any) -> None:
            """Nothing on stderr."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        script.address = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


def kubeconfig(path: Path, server: str, **cluster: Any) -> Path:
    """A kubeconfig with one context called `here`."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    path.write_text(json.dumps(document))
    return path
