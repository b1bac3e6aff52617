"""docker-registry on a free port of loopback: a plain one, one with a login, or with any other configuration.

with registry() as plain:                                  # no login
    ...
with registry(users={"AWS": token}) as private:            # Basic, realm "ecr", as ECR's data plane answers
    ...
with registry({"storage": {"maintenance": {"readonly": {"enabled": True}}}}) as other:
    ...
"""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from tests.components.images.keeping import keep
from tests.components.images.layers import Layer

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
LIMIT_S = 60.0


@dataclass(frozen=True)
class Registry:
    address: str
    """127.0.0.1:PORT, what stands before the first slash of an image's name."""
    storage: Path
    """Where its blobs lie; gone when the registry is."""
    log: Path
    login: str | None = None
    """NAME:PASSWORD for the calls below."""

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> HTTPResponse:
        """One call of the registry protocol; `path` starts behind /v2/, or is a whole URL. Raises urllib.error.HTTPError."""
        url = path if path.startswith("http") else f"http://{self.address}/v2/{path}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.login:
            sent["Authorization"] = "Basic " + b64encode(self.login.encode()).decode()
        request = urllib.request.Request(url, body, sent, method=method)
        answer = urllib.request.urlopen(request, timeout=LIMIT_S)
        assert isinstance(answer, HTTPResponse)
        return answer

    def manifest(self, name: str, reference: str) -> dict[str, Any]:
        """An image's or index's manifest, by tag or digest. Raises urllib.error.HTTPError (404)."""
        with self.ask("GET", f"{name}/manifests/{reference}", Accept=", ".join(MANIFESTS)) as answer:
            found = json.load(answer)
        assert isinstance(found, dict)
        return found

    def digest(self, name: str, reference: str) -> str | None:
        """What the registry has under this tag; None where there is nothing."""
        try:
            with self.ask("HEAD", f"{name}/manifests/{reference}", Accept=", ".join(MANIFESTS)) as answer:
                return answer.headers["Docker-Content-Digest"]
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 404:
                raise
            return None

    def tags(self, name: str) -> list[str]:
        """Sorted. Raises urllib.error.HTTPError (404) where nobody has pushed to this repository."""
        with self.ask("GET", f"{name}/tags/list") as answer:
            return sorted(json.load(answer)["tags"] or [])

    def configuration(self, name: str, reference: str) -> dict[str, Any]:
        """An image's configuration: `config` (Env, User, Labels), `rootfs`, `history`."""
        digest = self.manifest(name, reference)["config"]["digest"]
        with self.ask("GET", f"{name}/blobs/{digest}") as answer:
            found = json.load(answer)
        assert isinstance(found, dict)
        return found

    def holds(self, name: str, layer: Layer) -> bool:
        try:
            self.ask("HEAD", f"{name}/blobs/{layer.digest}").close()
        except urllib.error.HTTPError as error:
            error.close()
            return False
        return True


def configuration(folder: Path, more: Mapping[str, Any], users: Mapping[str, str]) -> dict[str, Any]:
    """On port 0 the kernel chooses one that is free; the log names it."""
    said: dict[str, Any] = {
        "version": "0.1",
        "log": {"accesslog": {"disabled": True}, "level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0"},
    }
    if users:
        said["auth"] = {"htpasswd": {"realm": "ecr", "path": str(folder / "htpasswd")}}
    for key, value in more.items():
        said[key] = {**said[key], **value} if isinstance(said.get(key), dict) else value
    return said


def write_passwords(path: Path, users: Mapping[str, str]) -> None:
    lines = [
        subprocess.run(
            ["htpasswd", "-niBC5", name], input=password, check=True, capture_output=True, text=True, timeout=20
        ).stdout
        for name, password in users.items()
    ]
    path.touch(mode=0o600)
    path.write_text("".join(lines))


@contextmanager
def registry(more: Mapping[str, Any] | None = None, *, users: Mapping[str, str] | None = None) -> Iterator[Registry]:
    """A registry with storage of its own. `more` goes into its configuration, one level deep; `users` are name -> password."""

    def command(folder: Path) -> list[object]:
        write_passwords(folder / "htpasswd", users or {})
        (folder / "config.yml").write_text(json.dumps(configuration(folder, more or {}, users or {})))
        return ["docker-registry", "serve", folder / "config.yml"]

    with keep("registry", command) as process:

        def port() -> str | None:
            found = re.search(r"listening on 127\.0\.0\.1:(\d+)", process.log.read_text(errors="replace"))
            return found and found[1]

        process.wait_until(port)
        login = next((":".join(pair) for pair in (users or {}).items()), None)
        yield Registry(f"127.0.0.1:{port()}", process.folder / "storage", process.log, login)
