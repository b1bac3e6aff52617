"""Prometheus as tests hold it."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.components.aws import processes
from tests.components.aws.server import serve
from tests.components.prometheus import metrics, program
from tests.components.prometheus.proxy import WORKSPACE, Front, Proxy, Wrong

SCRAPE = "200ms"
DEADLINE_S = 30.0


@dataclass
class Prometheus:
    front: Front
    port: int
    """The proxy's."""
    serial: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        """Of a Prometheus without signatures; calls go through the proxy, and go wrong there too."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def workspace_url(self) -> str:
        """As AMP's: what comes behind it is /api/v1/query."""
        return f"{self.url}/workspaces/{WORKSPACE}"

    def show(self, samples: Sequence[metrics.Sample]) -> None:
        """From now on these are the newest values, and no others. Returns when Prometheus has them. Raises TimeoutError."""
        number = next(self.serial)
        self.front.exported = metrics.text([*samples, ("trainyard_serial", {}, float(number))])
        deadline = time.monotonic() + DEADLINE_S
        while not self._has(number):
            if time.monotonic() > deadline:
                raise TimeoutError("Prometheus does not scrape")
            time.sleep(0.05)

    def _has(self, number: int) -> bool:
        try:
            return any(each["value"][1] == str(number) for each in self.query("trainyard_serial"))
        except urllib.error.HTTPError as error:
            if error.code != 503:  # it reads its storage first, seconds on a busy machine
                raise
            return False

    def query(self, expression: str) -> list[Any]:
        """From Prometheus itself, past the proxy."""
        words = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.front.prometheus_port}/api/v1/query?{words}", timeout=10
        ) as answer:
            return list(json.load(answer)["data"]["result"])

    def goes_wrong(self, kind: str, **wrong: Any) -> None:
        """The next call: see Wrong."""
        self.front.wrong.append(Wrong(kind, **wrong))

    def reset(self) -> None:
        """No faults, no calls, no other keys than root's. The samples stay: they are old at the next `show`."""
        fresh = Front(self.front.prometheus_port)
        self.front.wrong, self.front.calls, self.front.secrets = fresh.wrong, fresh.calls, fresh.secrets
        self.front.region, self.front.workspaces = fresh.region, fresh.workspaces


@contextmanager
def running(folder: Path, history: str = "") -> Iterator[Prometheus]:
    """`history`: OpenMetrics with times, that lie before now: see metrics.history."""
    programs = program.kept()
    assert programs is not None, "reason_against() was not asked"
    front = Front(processes.free_port())
    server = serve(type("ProxyOfFront", (Proxy,), {"front": front}))
    data, log, configuration = folder / "data", folder / "prometheus.log", folder / "prometheus.yml"
    if history:
        backfill(programs / "promtool", folder / "history.txt", history, data)
    configuration.write_text(yaml.safe_dump(scraping(server.server_port)))
    address = f"127.0.0.1:{front.prometheus_port}"
    words = [f"--config.file={configuration}", f"--storage.tsdb.path={data}", f"--web.listen-address={address}"]
    process = processes.start([str(programs / "prometheus"), *words], log)
    try:
        processes.wait_until_it_answers(f"http://{address}/-/ready", process, log)
        yield Prometheus(front, server.server_port)
    finally:
        processes.stop(process)
        server.shutdown()
        server.server_close()


def scraping(port: int) -> dict[str, Any]:
    """The exporter's own labels are kept: they say which node is meant."""
    target = {"job_name": "hyperpod", "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    return {"global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE}, "scrape_configs": [target]}


def backfill(promtool: Path, file: Path, text: str, data: Path) -> None:
    file.write_text(text)
    command = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", str(file), str(data)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
