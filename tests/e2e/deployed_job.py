"""deploy.py on one job file of the test cluster, as a user calls it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.components.cluster.running import TRAINER_IMAGE, Cluster
from tests.training.forking import skill_run

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "skills" / "training-job-deployer" / "src" / "deploy.py"
PATIENCE_S = 300.0
TINY = "--batch-size 4 --block-size 16 --layers 1 --dim 32 --data training/train.py --eval-interval 100000"
"""Some ten milliseconds a step on one core."""


@dataclass
class DeployedJob:
    """A job file in a folder of its own."""

    cluster: Cluster
    namespace: str
    folder: Path
    keys: dict[str, Any] = field(default_factory=dict)
    patience_s: float = PATIENCE_S

    def __post_init__(self) -> None:
        job: dict[str, Any] = {
            "name": "tiny",
            "target": "eks",
            "source": str(ROOT),
            "nodes": 2,
            "procs_per_node": 1,
            "image": {"uri": TRAINER_IMAGE},
            "cluster": {"namespace": self.namespace, "node_selector": {"type": "real"}},
            "resources": {"cpu": "100m", "memory": "1Gi"},
            "env": {"OMP_NUM_THREADS": "1"},  # the pods share two cores, and threads that wait for each other burn them
            "checkpoints": {"storage": {"class": "test-shared", "size": "1Gi"}, "rolling_steps": 20},
            **self.keys,
        }
        self.kubeconfig = self.folder / "kubeconfig"
        self.kubeconfig.write_text(self.cluster.kubeconfig.read_text())
        self.job.write_text(json.dumps(job))

    def change(self, **keys: Any) -> None:
        """Other values of keys of the job file."""
        self.job.write_text(json.dumps({**json.loads(self.job.read_text()), **keys}))

    @property
    def job(self) -> Path:
        return self.folder / "job.yaml"

    @property
    def run_dir(self) -> Path:
        return next((self.folder / ".trainyard" / "runs").glob("[a-z]*"))

    def call(self, verb: str, *words: str, exit_code: int = 0) -> dict[str, Any]:
        """The document that the verb printed."""
        command = [sys.executable, str(DEPLOY), verb, str(self.job), *words]
        done = skill_run(command, env={**os.environ, "KUBECONFIG": str(self.kubeconfig)}, timeout=self.patience_s + 60)
        assert done.returncode == exit_code, f"{verb} ended with {done.returncode}: {done.stdout}\n{done.stderr}"
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def status(self) -> dict[str, Any]:
        return dict(self.call("status")["data"])

    def wait_for(self, ready: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first status for which `ready` is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not ready(status := self.status()):
            assert time.monotonic() < deadline, status
            time.sleep(3)  # a look starts four programs, and the job shares two cores with it
        return status

    def left(self, *kinds: str) -> list[str]:
        """What of these kinds is in the namespace."""
        found = self.cluster.get(",".join(kinds), "", "--namespace", self.namespace)["items"]
        return sorted(item["metadata"]["name"] for item in found)

    def events(self, type: str) -> list[dict[str, Any]]:
        """Of the events that the report fetched from the volume."""
        lines = (self.run_dir / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["type"] == type]
