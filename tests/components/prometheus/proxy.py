"""What stands before Prometheus: the exporter's text, the check of signatures, and everything that goes wrong on demand."""

from __future__ import annotations

import datetime
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.components.aws.iam import signature
from tests.components.aws.iam.caller import caller_of
from tests.components.aws.wire import passing
from tests.components.aws.wire.exchange import BrokenBodyError, Exchange
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import ROOT_KEY, ROOT_SECRET

WORKSPACE = "ws-0a1b2c3d-4e5f-6789-abcd-ef0123456789"
ROUTE = re.compile(r"/workspaces/(?P<workspace>[^/]+)(?P<path>/api/v1/.+)")
CLOCK_S = 300.0
"""A signature of another time than this around now is refused."""
JSON = {"Content-Type": "application/json"}


@dataclass
class Wrong:
    kind: str
    """status, partial, html, endless, stall, cut."""
    times: int = 1
    status: int = 503
    body: str = '{"status":"error","errorType":"unavailable","error":"too many outstanding requests"}'
    seconds: float = 60.0
    """Of `stall`: the headers come, the body never does."""

    def __post_init__(self) -> None:
        if self.kind not in WRONG:
            raise ValueError(f"kind is one of {', '.join(WRONG)}")


@dataclass
class Front:
    """What the proxy knows."""

    prometheus_port: int
    region: str = "us-east-1"
    workspaces: set[str] = field(default_factory=lambda: {WORKSPACE})
    secrets: dict[str, str] = field(default_factory=lambda: {ROOT_KEY: ROOT_SECRET})
    """Access key id -> secret: who may ask."""
    exported: str = ""
    wrong: list[Wrong] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    """Paths with their queries, as they came."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> Wrong | None:
        with self.lock:
            found = next((each for each in self.wrong if each.times > 0), None)
            if found:
                found.times -= 1
            return found


class Proxy(Exchange):
    front: Front

    def serve(self) -> None:
        try:
            self.handle_request()
        except Refused as refused:
            body = json.dumps({"message": refused.message}).encode()
            self.drain()
            self.answer(refused.status, {**JSON, "x-amzn-ErrorType": refused.code}, body)
        except BrokenBodyError:
            self.hang_up()

    do_GET = do_POST = serve

    def handle_request(self) -> None:
        if self.route == "/metrics":
            self.answer(200, {"Content-Type": "text/plain; version=0.0.4"}, self.front.exported.encode())
            return
        if self.route.startswith("/_control/"):
            self.answer(200, JSON, json.dumps(told(self.front, self.route.rpartition("/")[2], self.body())).encode())
            return
        self.front.calls.append(self.path)
        body, path = self.body(1 << 20), self.path
        if found := ROUTE.fullmatch(self.path):
            self.authorize(body)
            if found["workspace"] not in self.front.workspaces:
                raise Refused("ResourceNotFoundException", f"Workspace not found: {found['workspace']}", 404)
            path = found["path"]
        if wrong := self.front.take():
            WRONG[wrong.kind](self, wrong, path, body)
        else:
            status, headers, answer = self.ask(path, body)
            self.answer(status, headers, answer)

    def authorize(self, body: bytes) -> None:
        """As AMP's gateway does. Raises Refused (403)."""
        caller = caller_of(self.headers, self.query)
        if caller.service != "aps":
            raise Refused("InvalidSignatureException", "Credential should be scoped to correct service: 'aps'.", 403)
        if caller.region != self.front.region:
            raise Refused("InvalidSignatureException", "Credential should be scoped to a valid region.", 403)
        secret = self.front.secrets.get(caller.key)
        if secret is None:
            raise Refused("UnrecognizedClientException", "The security token included in the request is invalid.", 403)
        signature.check(secret, caller, self.command, self.path, self.headers, body)
        stamp = datetime.datetime.strptime(self.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        if abs(time.time() - stamp.timestamp()) > CLOCK_S:
            raise Refused("InvalidSignatureException", f"Signature expired: {self.headers['X-Amz-Date']} is not now.", 403)

    def ask(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {"Content-Type": self.headers.get("Content-Type", ""), "Content-Length": str(len(body))}
        with passing.asked(self.front.prometheus_port, self.command, path, headers, [body]) as answer:
            return answer.status, {"Content-Type": answer.headers.get("Content-Type", "")}, answer.read()


def with_status(proxy: Proxy, wrong: Wrong, path: str, body: bytes) -> None:
    proxy.answer(wrong.status, JSON, wrong.body.encode())


def partial(proxy: Proxy, wrong: Wrong, path: str, body: bytes) -> None:
    """A whole answer that says itself that data is missing."""
    status, headers, answer = proxy.ask(path, body)
    more = {"warnings": ["results may be incomplete: 1 of 3 zones failed"], "infos": ["metric might not be a counter"]}
    proxy.answer(status, headers, json.dumps({**json.loads(answer), **more}).encode())


def html(proxy: Proxy, wrong: Wrong, path: str, body: bytes) -> None:
    """A sign-in page, as a gateway in between sends it, with 200."""
    proxy.answer(200, {"Content-Type": "text/html"}, b"<html><body>Please sign in</body></html>")


def endless(proxy: Proxy, wrong: Wrong, path: str, body: bytes) -> None:
    """Well-formed JSON that does not end, until the client hangs up."""
    proxy.send_response_only(200)
    for name, value in {**JSON, "Connection": "close"}.items():
        proxy.send_header(name, value)
    proxy.end_headers()
    proxy.close_connection = True
    proxy.wfile.write(b'{"status":"success","data":{"resultType":"vector","result":[')
    sample = b'{"metric":{},"value":[1,"1"]},' * 1000
    while True:
        proxy.wfile.write(sample)


def stall(proxy: Proxy, wrong: Wrong, path: str, body: bytes) -> None:
    proxy.send_response_only(200)
    for name, value in {**JSON, "Content-Length": "1000"}.items():
        proxy.send_header(name, value)
    proxy.end_headers()
    proxy.wfile.write(b'{"status":')
    proxy.wfile.flush()
    time.sleep(wrong.seconds)
    proxy.hang_up()


def cut(proxy: Proxy, wrong: Wrong, path: str, body: bytes) -> None:
    proxy.hang_up()


WRONG: dict[str, Callable[[Proxy, Wrong, str, bytes], None]] = {
    "status": with_status,
    "partial": partial,
    "html": html,
    "endless": endless,
    "stall": stall,
    "cut": cut,
}


def told(front: Front, verb: str, body: bytes) -> Any:
    """POST /_control/metrics with the exporter's text, /_control/wrong with a JSON object of Wrong, /_control/calls."""
    if verb == "metrics":
        front.exported = body.decode()
    elif verb == "wrong":
        front.wrong.append(Wrong(**json.loads(body or b"{}")))
    elif verb == "calls":
        return front.calls
    else:
        raise Refused("ControlError", f"no verb {verb}: metrics, wrong, calls", 404)
    return None
