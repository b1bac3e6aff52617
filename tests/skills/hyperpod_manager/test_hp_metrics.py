"""`query-metrics` against servers that answer well, badly, strangely and never. Prometheus itself: test_hp_prometheus.py."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hp_call import Manager

WORKSPACE = "ws-0123abcd-0123-4567-89ab-0123456789ab"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "the-token"}
UP = {"metric": {"__name__": "up", "instance": "a"}, "value": [1, "1"]}


class Server:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.kind, self.headers = 200, "application/json", dict[str, str]()
        self.body: bytes | None = b"{}"
        """None: an endless one."""
        self.pause_s = 0.0
        """Before each byte."""
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.address = ""

    def answers(self, result: Any, **more: Any) -> None:
        kind = "vector" if isinstance(result, list) and all("value" in each for each in result) else "matrix"
        self.says({"status": "success", "data": {"resultType": kind, "result": result}, **more})

    def says(self, document: Any, status: int = 200) -> None:
        self.status, self.body = status, json.dumps(document).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as made:
        yield made


@contextmanager
def serving() -> Iterator[Server]:
    made = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, dict(self.headers.items())))
            self.send_response(made.status)
            length = {"content-length": str(len(made.body))} if made.body is not None else {}
            for name, value in {"content-type": made.kind, **length, **made.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                if made.body is None:
                    while True:
                        self.wfile.write(b'{"status": "success", ' * 3000)
                for byte in made.body if made.pause_s else b"":
                    time.sleep(made.pause_s)
                    self.wfile.write(bytes([byte]))
                if not made.pause_s:
                    self.wfile.write(made.body)
            except OSError:  # the program has heard enough
                self.close_connection = True

        def log_message(self, *words: Any) -> None:
            """Nothing on stderr."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *words: Any) -> None:
            """A client that hung up."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        made.address = f"http://127.0.0.1:{http.server_address[1]}"
        try:
            yield made
        finally:
            http.shutdown()
            thread.join()


def test_a_moment_and_a_time_are_asked_for(server: Server) -> None:
    server.answers([UP])
    moment = Manager()("query-metrics", "targets", "--url", server.address)
    assert (moment.code, moment.data["series"][0]["value"], moment.data["query"]) == (0, [1.0, 1.0], "up"), moment
    server.answers([{"metric": {}, "values": [[1, "0.5"], [61, "0.25"]]}])
    words = ("--start", "1970-01-01T00:00:01Z", "--end", "61", "--step", "60s")
    span = Manager()("query-metrics", "avg(up)", "--url", f"{server.address}/prometheus/api/v1", *words)
    assert (span.code, span.data["series"][0]["values"]) == (0, [[1.0, 0.5], [61.0, 0.25]]), span
    paths = [path for path, _ in server.asked]
    assert paths == ["/api/v1/query?query=up", "/prometheus/api/v1/query_range?query=avg%28up%29&start=1.000&end=61&step=60s"]


def test_what_is_no_number_is_text(server: Server) -> None:
    """JSON has no NaN; a reader would fail on it."""
    server.answers([{"metric": {}, "value": [1, text]} for text in ("NaN", "+Inf", "-Inf", "3")])
    done = Manager()("query-metrics", "up", "--url", server.address)
    assert [each["value"][1] for each in done.data["series"]] == ["NaN", "+Inf", "-Inf", 3.0]
    server.says({"status": "success", "data": {"resultType": "string", "result": [1, "hello"]}})
    assert Manager()("query-metrics", '"hello"', "--url", server.address).data["series"][0]["value"] == [1.0, "hello"]


def test_no_data_is_unknown(server: Server) -> None:
    """Never zero; for what HyperPod has switched off the fix says so."""
    server.answers([])
    done = Manager()("query-metrics", "efa", "--url", server.address)
    assert (done.code, done.check("metrics.data")["status"]) == (1, "unknown"), done
    assert "off by default" in done.check("metrics.data")["fix"]
    other = Manager()("query-metrics", "gpu-utilization", "--url", server.address)
    assert other.code == 1 and "off by default" not in other.check("metrics.data")["fix"], "control"


def test_a_part_is_not_the_whole(server: Server) -> None:
    server.answers([UP], warnings=["a store did not answer"])
    done = Manager()("query-metrics", "up", "--url", server.address)
    assert (done.code, done.check("metrics.partial")["evidence"]) == (1, "a store did not answer")
    server.answers([UP], infos=["PromQL info: metric might not be a counter"])
    assert Manager()("query-metrics", "up", "--url", server.address).code == 0, "control: a remark is none"


REFUSED = [
    (400, {"status": "error", "errorType": "bad_data", "error": 'parse error: unclosed left parenthesis'}, 2, "usage", "unclosed"),
    (422, {"status": "error", "errorType": "execution", "error": "too many samples"}, 2, "usage", "too many samples"),
    (401, {}, 4, "permission", "HTTP 401"),
    (403, {"message": "no"}, 4, "permission", "HTTP 403"),
    (404, {"message": "no such workspace"}, 3, "not-found", "no such workspace"),
    (429, {"message": "slow down"}, 8, "unreachable", "slow down"),
    (503, {"status": "error", "errorType": "timeout", "error": "query timed out"}, 8, "unreachable", "query timed out"),
    (500, {}, 8, "unreachable", "HTTP 500"),
    (200, {"status": "error", "error": "half of it"}, 8, "unreachable", "half of it"),
    (200, {"status": "success", "data": {"resultType": "cake", "result": []}}, 8, "unreachable", "no result"),
    (200, {"status": "success", "data": {"resultType": "vector", "result": [7]}}, 8, "unreachable", "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "document", "code", "kind", "said"), REFUSED)
def test_a_refusal_has_its_exit_code(server: Server, status: int, document: Any, code: int, kind: str, said: str) -> None:
    server.says(document, status)
    done = Manager()("query-metrics", "up", "--url", server.address)
    assert (done.code, done.error["code"]) == (code, kind), done
    assert said in done.error["message"] and done.error["hint"]
    assert len(server.asked) == (3 if status in (429, 503) else 1), "what is busy is asked again"


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"[1]", b"", b"[" * 100_000, b'{"status": "success"'])
def test_what_is_no_answer_is_said(server: Server, body: bytes) -> None:
    server.body, server.kind = body, "text/html"
    done = Manager()("query-metrics", "up", "--url", server.address)
    assert (done.code, done.error["code"]) == (8, "unreachable") and "text/html" in done.error["message"], done


def test_an_endless_answer_is_cut(server: Server) -> None:
    server.body = None
    done = Manager()("query-metrics", "up", "--url", server.address, timeout_s=30)
    assert done.code == 8 and "more than 32 MiB" in done.error["message"], done


def test_a_slow_answer_is_late(server: Server) -> None:
    """Each byte comes in time, all of them do not."""
    server.answers([UP])
    server.pause_s = 0.3
    started = time.monotonic()
    done = Manager()("query-metrics", "up", "--url", server.address, "--timeout", "2")
    assert (done.code, done.error["code"]) == (7, "timeout") and time.monotonic() - started < 15, done


def test_nobody_there_is_unreachable() -> None:
    done = Manager()("query-metrics", "up", "--url", "http://127.0.0.1:9", "--timeout", "2")
    assert (done.code, done.error["code"], done.error["retryable"]) == (8, "unreachable", True)


# --- credentials -------------------------------------------------------------------------------------------------


def test_a_workspace_is_signed_for(server: Server) -> None:
    server.answers([UP])
    env = {**KEYS, "AWS_ENDPOINT_URL_AMP": server.address}
    done = Manager(env)("query-metrics", "up", "--workspace", WORKSPACE, "--region", "eu-central-1")
    assert done.code == 0, done
    path, headers = server.asked[0]
    assert path == f"/workspaces/{WORKSPACE}/api/v1/query?query=up"
    assert "/eu-central-1/aps/aws4_request" in headers["Authorization"] and headers["X-Amz-Security-Token"] == "the-token"


def test_a_prometheus_gets_no_credentials(server: Server) -> None:
    """Whatever the environment holds."""
    server.answers([UP])
    assert Manager(KEYS)("query-metrics", "up", "--url", server.address).code == 0
    sent = json.dumps(server.asked)
    assert "Authorization" not in sent and "the-token" not in sent and KEYS["AWS_ACCESS_KEY_ID"] not in sent


@pytest.mark.parametrize(
    "address", ["http://prometheus.example.com", "https://prometheus.example.com", "http://aps-workspaces.us-east-1.amazonaws.com",
                "https://amazonaws.com.example.com", "https://127.0.0.1.example.com"],
)  # fmt: skip
def test_credentials_go_to_nobody_else(address: str) -> None:
    done = Manager({**KEYS, "AWS_ENDPOINT_URL_AMP": address})(
        "query-metrics", "up", "--workspace", WORKSPACE, "--region", "us-east-1"
    )
    assert (done.code, done.error["code"]) == (2, "usage") and "credentials go to AWS" in done.error["message"], done


def test_a_redirect_is_not_followed(server: Server) -> None:
    """It would carry the token to whoever it names."""
    with serving() as other:
        other.answers([UP])
        server.status, server.body, server.headers = 307, b"", {"location": f"{other.address}/api/v1/query?query=up"}
        env = {**KEYS, "AWS_ENDPOINT_URL_AMP": server.address}
        done = Manager(env)("query-metrics", "up", "--workspace", WORKSPACE, "--region", "us-east-1")
        assert (done.code, other.asked) == (8, []) and "not followed" in done.error["message"], done
        server.status = 200
        server.answers([UP])
        assert Manager(env)("query-metrics", "up", "--workspace", WORKSPACE, "--region", "us-east-1").code == 0, "control"


def test_an_expired_token_is_named(server: Server) -> None:
    server.says({"message": "The security token included in the request is expired"}, 403)
    words = ("query-metrics", "up", "--workspace", WORKSPACE, "--region", "us-east-1")
    done = Manager({**KEYS, "AWS_ENDPOINT_URL_AMP": server.address})(*words)
    assert (done.code, done.error["code"]) == (4, "credentials") and "sso login" in done.error["hint"], done
    server.says({"message": "User is not authorized to perform: aps:QueryMetrics"}, 403)
    denied = Manager({**KEYS, "AWS_ENDPOINT_URL_AMP": server.address})(*words)
    assert denied.error["code"] == "permission" and f"workspace/{WORKSPACE}" in denied.error["hint"]
    nobody = Manager({"AWS_ENDPOINT_URL_AMP": server.address})(*words)
    assert (nobody.code, nobody.error["code"]) == (4, "credentials"), nobody


@pytest.mark.parametrize(
    "words",
    [
        ("up",),
        ("up", "--workspace", WORKSPACE, "--url", "http://127.0.0.1:9"),
        ("up", "--workspace", "ws-1", "--region", "us-east-1"),
        ("up", "--workspace", WORKSPACE, "--region", "evil.example.com/"),
        ("up", "--url", "ftp://127.0.0.1"),
        ("up", "--url", "http://me:secret@127.0.0.1:9"),
        ("up", "--url", f"https://aps-workspaces.us-east-1.amazonaws.com/workspaces/{WORKSPACE}"),
        ("up", "--url", "http://127.0.0.1:9", "--step", "60s"),
        ("up", "--url", "http://127.0.0.1:9", "--start", "yesterday"),
        ("u" * 4001, "--url", "http://127.0.0.1:9"),
    ],
)
def test_wrong_words_are_refused(words: tuple[str, ...]) -> None:
    done = Manager(KEYS)("query-metrics", *words)
    assert (done.code, done.error["code"]) == (2, "usage") and "secret" not in json.dumps(done.document), done
