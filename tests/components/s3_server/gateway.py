"""The S3 server versitygw: built once in ~/.cache/trainyard, and run over a folder that goes with it.

python -m tests.components.s3_server.gateway        # builds it: about two minutes the first time
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.components.aws.processes import free_port
from tests.components.build_host.tools import alone, whole
from tests.components.cluster.needs import go_version
from tests.components.cluster.place import cache
from tests.components.images.keeping import keep

MODULE = "github.com/versity/versitygw"
GO_MINIMUM = (1, 25)
REGION = "us-east-1"


@dataclass(frozen=True)
class Server:
    endpoint: str
    environment: Mapping[str, str]
    """Of its administrator's calls: keys and endpoint."""

    def make_bucket(self, name: str, owner: str) -> None:
        """A bucket whose owner is the account `owner`: calls name it in x-amz-expected-bucket-owner, and the server compares."""
        self._admin("create-user", "--access", owner, "--secret", "unused-by-anybody", "--role", "user")
        self._admin("create-bucket", "--bucket", name, "--owner", owner)

    def _admin(self, *words: str) -> None:
        command = [str(program()), "admin", *words]
        subprocess.run(command, check=True, env={**os.environ, **self.environment}, capture_output=True, timeout=30)


def version() -> str:
    found = re.search(r"^VERSITYGW=(\S+)$", Path(__file__).with_name("versions.env").read_text(), re.MULTILINE)
    assert found, "versions.env does not name VERSITYGW"
    return found[1]


def program() -> Path:
    return cache() / f"versitygw@{version()}" / "versitygw"


def reason_against() -> str | None:
    """Why it cannot be had here, in one line; None where it is there or can be made."""
    if program().exists() or go_version() >= GO_MINIMUM:
        return None
    return f"versitygw is built from Go modules, and there is no Go {'.'.join(map(str, GO_MINIMUM))} or newer"


def make() -> None:
    """Builds it where the cache lacks it. Raises CalledProcessError, OSError."""
    if program().exists():
        return
    with alone():
        if not program().exists():
            whole(program().parent, _make)


def _make(folder: Path) -> None:
    own = {"CGO_ENABLED": "0", "GOBIN": str(folder), "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false"}
    command = ["go", "install", "-trimpath", "-ldflags", "-s -w", f"{MODULE}/cmd/versitygw@v{version()}"]
    subprocess.run(command, check=True, env={**os.environ, **own}, stdout=sys.stderr)


@contextmanager
def running(key: str, secret: str) -> Iterator[Server]:
    """On a free port of loopback, with this key for everything. What is stored is gone at the end."""
    endpoint = f"http://127.0.0.1:{free_port()}"

    def command(folder: Path) -> list[object]:
        for name in ("buckets", "users"):
            (folder / name).mkdir()
        listening = ["--port", endpoint.removeprefix("http://"), "--region", REGION, "--health", "/health", "--quiet"]
        return [program(), *listening, "--iam-dir", folder / "users", "posix", folder / "buckets"]

    keys = {"ROOT_ACCESS_KEY": key, "ROOT_SECRET_KEY": secret}
    admin = {"ADMIN_ACCESS_KEY": key, "ADMIN_SECRET_KEY": secret, "ADMIN_REGION": REGION, "ADMIN_ENDPOINT_URL": endpoint}
    with keep("s3", command, keys) as process:
        process.wait_until(lambda: _answers(endpoint))
        yield Server(endpoint, admin)


def _answers(endpoint: str) -> bool:
    try:
        with urllib.request.urlopen(f"{endpoint}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    if why := reason_against():
        sys.exit(why)
    make()
