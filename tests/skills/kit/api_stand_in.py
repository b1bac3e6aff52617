"""A small HTTP server on loopback that gives the answers which a real API server gives only when it is in trouble."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
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
        self.token: str | None = None
        """The only one that is let in, where there is one; others are answered 401, whatever the script says."""
        self.turned_away = 0
        self.route: Callable[[str], Answer] | None = None
        """Answers by path, in place of the script: for requests that come side by side."""

    def next_answer(self, path: str, authorization: str) -> Answer:
        if self.token is not None and authorization != f"Bearer {self.token}":
            self.turned_away += 1
            return 401, {}, status(401, "Unauthorized", "Unauthorized")
        self.asked.append(path)
        if self.route is not None:
            return self.route(path)
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
            code, headers, document = script.next_answer(self.path, self.headers.get("authorization", ""))
            lines = document if isinstance(document, list) else [document]
            text = "\n".join([*document, ""]) if headers.get("content-type") == "text/plain" else None
            body = (text or "".join(json.dumps(line) + "\n" for line in lines)).encode()
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


def kubeconfig(path: Path, server: str, *, user: dict[str, Any] | None = None, **cluster: Any) -> Path:
    """A kubeconfig with one context called `here`; `user`: how it signs in, by the token `t` when nothing else is said."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "here", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "me", "user": user or {"token": "t"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "current-context": "here",
    }
    part = path.with_suffix(".part")  # whoever reads it in mid-run sees the old one or the new one
    part.write_text(json.dumps(document))
    part.replace(path)
    return path
