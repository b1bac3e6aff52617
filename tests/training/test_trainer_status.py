"""Progress told to Kubeflow's Trainer: a server with TLS on loopback stands for the controller, its own schema for what it takes."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from trainyard.aside import Aside
from trainyard.trainer_status import TrainerStatus, status_of

from tests.components.cluster import build


@dataclass
class Server:
    url: str
    ca: Path
    status: int = 200
    stalls_s: float = 0.0
    bodies: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def environment(self, token: Path, prefix: str = "KUBEFLOW_TRAINER_SERVER_") -> dict[str, str]:
        return {f"{prefix}URL": self.url, f"{prefix}TOKEN": str(token), f"{prefix}CA_CERT": str(self.ca)}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, crt = folder / "key.pem", folder / "crt.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*words, *names, "-keyout", str(key), "-out", str(crt)], check=True, capture_output=True, timeout=30)
    return key, crt


@pytest.fixture
def server(certificate: tuple[Path, Path]) -> Iterator[Server]:
    key, crt = certificate

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            made.tokens.append(self.headers["authorization"])
            made.bodies.append(json.loads(body))
            time.sleep(made.stalls_s)
            self.send_response(made.status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
    made = Server(
        f"https://localhost:{listening.server_port}/apis/trainer.kubeflow.org/v1alpha1/namespaces/a/trainjobs/b/status", crt
    )
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield made
    listening.shutdown()
    listening.server_close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


def told(status: TrainerStatus, aside: Aside, step: int, **record: Any) -> None:
    status.tell(step, {"loss": 2.5, **record})
    aside.drain(10.0)


def schema() -> dict[str, Any]:
    """Of status.trainerStatus, from the definition that the Trainer installs."""
    manifest = build.folder("trainer") / "manifest.json"
    if not manifest.exists():
        pytest.skip("the Trainer was never built here")
    items = json.loads(manifest.read_text())["items"]
    definition = next(item for item in items if item["metadata"]["name"] == "trainjobs.trainer.kubeflow.org")
    found: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    return dict(found["properties"]["trainerStatus"])


def errors(value: Any, rule: dict[str, Any]) -> list[str]:
    """What of the schema's words the value breaks: the few that this schema has."""
    found: list[str] = []
    if rule["type"] == "object":
        found += [f"{key} is unknown" for key in value if key not in rule["properties"]]
        found += [f"{key} is missing" for key in rule.get("required", []) if key not in value]
        found += [each for key in value if key in rule["properties"] for each in errors(value[key], rule["properties"][key])]
    elif rule["type"] == "array":
        found += [] if len(value) <= rule["maxItems"] else ["too many"]
        found += [each for item in value for each in errors(item, rule["items"])]
    elif rule["type"] == "integer":
        fits = isinstance(value, int) and rule["minimum"] <= value <= rule.get("maximum", 2**31 - 1)
        found += [] if fits else [f"{value} is out of bounds"]
    elif rule["type"] == "string":
        fits = isinstance(value, str) and rule.get("minLength", 0) <= len(value) <= rule.get("maxLength", 10**6)
        found += [] if fits else [f"{value!r} is not such a text"]
    return found


def test_what_is_told_fits_the_definition() -> None:
    """Also a metric without end, a name of a kilobyte, a million steps left and a loss that is NaN. The check sees what does not fit."""
    rule = schema()
    record = {
        "loss": float("nan"),
        "x" * 2000: 1.0,
        "big": 10**200,
        "none": None,
        "text": "no",
        **{f"m{n}": 0.5 for n in range(500)},
    }
    for step, total, left in ((1, 10**7, 1e12), (5, 10, 3.2), (11, 10, 0.0), (3, None, None)):
        status = status_of(step, total, record, left)
        assert errors(status, rule) == [] and "lastUpdatedTime" in status
    assert errors({"progressPercentage": 101, "metrics": [{"name": "", "value": 1}]}, rule)


def test_steps_arrive_with_the_newest_token(server: Server, token: Path) -> None:
    """The token's file is read each time; names of either writing are taken."""
    aside = Aside()
    for prefix in ("KUBEFLOW_TRAINER_SERVER_", "KUBEFLOW_TRAINER_STATUS_"):
        token.write_text("first\n")
        status = TrainerStatus(aside, 10, server.environment(token, prefix), every_s=0)
        told(status, aside, 4)
        token.write_text("second\n")
        told(status, aside, 5)
        assert server.tokens[-2:] == ["Bearer first", "Bearer second"]
    assert server.bodies[-1]["trainerStatus"]["progressPercentage"] == 50
    assert {"name": "loss", "value": "2.5"} in server.bodies[-1]["trainerStatus"]["metrics"]
    status.end(10, {"loss": 2.0}, finished=True)
    assert server.bodies[-1]["trainerStatus"]["progressPercentage"] == 100


def test_few_requests(server: Server, token: Path) -> None:
    """A thousand steps within the pause are one request."""
    aside = Aside()
    status = TrainerStatus(aside, 1000, server.environment(token))
    for step in range(1, 1001):
        status.tell(step, {"loss": 1.0})
    aside.drain(10.0)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("fault", ["refused", "gone", "no-token", "other-ca", "redirect", "http", "absent"])
def test_nothing_that_goes_wrong_reaches_the_training(server: Server, token: Path, fault: str, tmp_path: Path) -> None:
    environment = server.environment(token)
    server.status = {"refused": 403, "redirect": 307}.get(fault, 200)
    if fault == "no-token":
        token.unlink()
    elif fault == "gone":
        environment["KUBEFLOW_TRAINER_SERVER_URL"] = "https://localhost:9/status"
    elif fault == "other-ca":
        environment["KUBEFLOW_TRAINER_SERVER_CA_CERT"] = str(tmp_path / "none.crt")
    elif fault == "http":
        environment["KUBEFLOW_TRAINER_SERVER_URL"] = server.url.replace("https", "http")
    elif fault == "absent":
        environment = {}
    aside = Aside()
    status = TrainerStatus(aside, 10, environment, every_s=0)
    told(status, aside, 1)
    status.end(2, {}, finished=False)
    assert len(server.bodies) == (2 if fault in ("refused", "redirect") else 0)


def test_a_slow_server_holds_nobody(server: Server, token: Path) -> None:
    """Neither a step nor, beyond a moment, the end."""
    server.stalls_s = 3.0
    status = TrainerStatus(Aside(), 10, server.environment(token), end_s=0.2)
    began = time.monotonic()
    status.tell(1, {"loss": 1.0})
    status.end(2, {}, finished=True)
    assert time.monotonic() - began < 1.5
