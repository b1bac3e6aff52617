"""A registry that answers strangely: what it says is bounded, and the sign-in goes to it alone."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ecr_call import PROGRAM
from ecr_made_images import Made, oci

from tests.calling import Answer, call
from tests.components.images.fixtures import full_images

NOBODYS = "sha256:" + "0" * 64
MANIFEST = json.dumps({"schemaVersion": 2, "config": {"mediaType": "a/b", "digest": NOBODYS, "size": 2}, "layers": []}).encode()


class Strange(BaseHTTPRequestHandler):
    """ECR's API and a registry in one, as strange as `mode` says."""

    protocol_version = "HTTP/1.1"
    mode: ClassVar[str] = ""
    leaks: ClassVar[list[str]] = []
    put: ClassVar[list[str]] = []
    """Operations besides those that read."""

    def log_message(self, *_: Any) -> None: ...

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        here = f"127.0.0.1:{self.server.server_address[1]}"  # type: ignore[index]
        if target == "DescribeRepositories":
            host = "registry.example.invalid" if self.mode == "host" else here
            described = {"repositoryName": "net", "repositoryUri": f"{host}/{'other' if self.mode == 'name' else 'net'}"}
            self.answer(200, json.dumps({"repositories": [described]}).encode())
        elif target == "GetAuthorizationToken":
            token = base64.b64encode(b"AWS:secret").decode()
            self.answer(200, json.dumps({"authorizationData": [{"authorizationToken": token}]}).encode())
        elif target == "BatchGetImage":
            wanted = json.loads(body)["imageIds"][0]
            given = {"imageDigest": "sha256:" + "0" * 64, **wanted}
            image = {"imageId": given, "imageManifest": "{}", "imageManifestMediaType": "application/vnd.a"}
            self.answer(200, json.dumps({"images": [image], "failures": []}).encode())
        elif target:
            self.put.append(target)
            self.answer(200, b"{}")
        elif self.mode == "location":
            self.answer(202, Location=f"http://localhost:{here.partition(':')[2]}/elsewhere")
        else:
            self.answer(202, Location="/v2/net/blobs/uploads/1")

    def do_PATCH(self) -> None:
        if self.path == "/elsewhere":
            self.leaks.append(self.headers.get("Authorization", ""))
        left = int(self.headers.get("Content-Length") or 0)
        while left > 0:
            left -= len(self.rfile.read(min(left, 1_000_000)))
            time.sleep(1.0 if self.mode == "slow" else 0.0)
        if self.mode == "slow":
            self.answer(201)
            return
        self.answer(400, b"<html>\x1b[31m" + b"no " * 100_000)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.answer(201)

    def do_HEAD(self) -> None:
        self.answer(404)

    def do_GET(self) -> None:
        if self.mode in ("signed", "other bytes") and "/manifests/" in self.path:
            self.answer(200, MANIFEST, Content_Type="application/vnd.oci.image.manifest.v1+json")
        elif self.mode == "other bytes":
            self.answer(200, b"{}")
        elif self.mode == "signed":
            self.answer(307, Location="https://127.0.0.1:9/layer?X-Amz-Signature=SIGNED")
        elif self.mode == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b" " * 65536)
            except OSError:
                self.close_connection = True
        else:
            self.answer(404, b"[" * 10_000)


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Strange)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def image(tmp_path: Path) -> Made:
    return oci(tmp_path / "image.tar", [b"content"])


def push(monkeypatch: pytest.MonkeyPatch, endpoint: str, image: Made, mode: str) -> Answer:
    words = ("push", image.word, "--repository", "net", "--tag", "1", "--tries", "1")
    return ask(monkeypatch, endpoint, mode, *words)


def ask(monkeypatch: pytest.MonkeyPatch, endpoint: str, mode: str, *words: str) -> Answer:
    monkeypatch.setattr(Strange, "mode", mode)
    monkeypatch.setattr(Strange, "put", [])
    monkeypatch.setattr(Strange, "leaks", [])
    env = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    return call(PROGRAM, *words, env=env)


def test_the_sign_in_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch, endpoint: str, image: Made) -> None:
    """Neither to another host in Location, nor to a registry that answers for another repository."""
    done = push(monkeypatch, endpoint, image, "location")
    assert done.code == 8 and "sends the upload to localhost" in done.error["message"], done
    assert Strange.leaks == []
    assert push(monkeypatch, endpoint, image, "name").code == 8


def test_what_it_says_is_bounded(monkeypatch: pytest.MonkeyPatch, endpoint: str, image: Made) -> None:
    """An answer without an end, and pages of markup with control characters."""
    began = time.monotonic()
    endless = push(monkeypatch, endpoint, image, "endless")
    assert endless.code == 8 and "more than" in endless.error["message"] and time.monotonic() - began < 20, endless
    wordy = push(monkeypatch, endpoint, image, "")
    assert wordy.code == 2 and len(wordy.error["message"]) < 1000 and "\x1b" not in wordy.error["message"], wordy
    assert "secret" not in json.dumps(wordy.document) + wordy.stderr


def test_a_registry_elsewhere_is_asked_with_tls(monkeypatch: pytest.MonkeyPatch, endpoint: str, image: Made) -> None:
    done = push(monkeypatch, endpoint, image, "host")
    assert done.code == 8 and "registry.example.invalid" in done.error["message"] and "HTTPS" in done.error["message"], done


def test_a_signed_address_is_not_told(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """A layer lies in S3 under a signed URL: when it cannot be had, the host is named and the signature is not."""
    done = ask(monkeypatch, endpoint, "signed", "verify", "net:1", "--timeout", "1.5")
    assert done.code in (7, 8), done
    assert "SIGNED" not in json.dumps(done.document) + done.stderr, done


def test_a_config_with_other_bytes_is_found(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Exit 1: the image in the registry is not whole. It is not the fault of an archive."""
    done = ask(monkeypatch, endpoint, "other bytes", "verify", "net:1")
    assert done.code == 1 and NOBODYS in done.check("verify.layers")["evidence"], done


def test_a_converted_manifest_is_not_promoted(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Bytes that have not the digest ECR names would be another image under the new tag."""
    done = ask(monkeypatch, endpoint, "", "promote", "net", "--from", "build-1", "--tag", "1")
    assert (done.code, done.error["code"], Strange.put) == (5, "conflict", []), done


@full_images
def test_a_long_layer_is_told_of(monkeypatch: pytest.MonkeyPatch, endpoint: str, tmp_path: Path) -> None:
    """Where stderr is no terminal there is a line now and then: a layer of gigabytes takes many minutes."""
    image = oci(tmp_path / "image.tar", [os.urandom(35_000_000)])
    done = push(monkeypatch, endpoint, image, "slow")
    assert "MB of 35" in done.stderr and "\r" not in done.stderr, done.stderr
