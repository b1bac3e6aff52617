"""A claim on the real node with a run folder on it, a pod that uses it, and another claim that nobody uses."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster_calls import IMAGE, ON_REAL, RUN_ID, called
from made_checkpoints import Answer, write_lock, write_step, write_tiers

from tests.components.cluster.nodes import REAL_SELECTOR
from tests.components.cluster.running import Cluster
from tests.components.cluster.volumes import SHARED_CLASS, shared_volume

RUN_DIR = f"/trainyard/tiny-{RUN_ID}"
TRAINER = "local.test/trainer:1"


@dataclass(frozen=True)
class Place:
    """One claim: `folder` is here what /trainyard is in the pods."""

    cluster: Cluster
    namespace: str
    claim: str
    folder: Path

    @property
    def run(self) -> Path:
        return self.folder / f"tiny-{RUN_ID}"

    @property
    def checkpoints(self) -> Path:
        return self.run / "checkpoints"

    def by_pod(self, *words: Any, user: Path | None = None) -> Answer:
        """The program, looking from the job's pod."""
        return called("pod_checkpoints.py", self.cluster, self.namespace, *words, "--pod", "tiny-master-0", user=user)

    def by_helper(self, *words: Any, image: str = IMAGE) -> Answer:
        return called("pod_checkpoints.py", self.cluster, self.namespace, *words, *self.helper_words(image))

    def helper_words(self, image: str = IMAGE) -> tuple[str, ...]:
        return ("--claim", self.claim, "--image", image, *ON_REAL)

    def helpers(self) -> list[dict[str, Any]]:
        selector = "--selector=trainyard.dev/helper"
        items: list[dict[str, Any]] = self.cluster.get("pods", "", "--namespace", self.namespace, selector)["items"]
        return items

    def start_pod(self) -> None:
        """The job's pod: the trainer's image, a sidecar first."""
        mount = {"name": "volume", "mountPath": "/trainyard"}
        sleeper = {"imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"], "volumeMounts": [mount]}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "tiny-master-0"},
            "spec": {
                "nodeSelector": REAL_SELECTOR,
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {"name": "sidecar", "image": IMAGE, **sleeper},
                    {"name": "pytorch", "image": TRAINER, **sleeper},
                ],
                "volumes": [{"name": "volume", "persistentVolumeClaim": {"claimName": self.claim}}],
            },
        }
        self.cluster.apply([pod], "--namespace", self.namespace)
        self.cluster.kubectl(
            "wait", "--for=condition=Ready", "pod/tiny-master-0", "--namespace", self.namespace, "--timeout=90s"
        )


@contextmanager
def claim_on_real_node(cluster: Cluster, folder: Path) -> Iterator[Place]:
    """A namespace with a bound claim; all of it goes at the end."""
    namespace = f"test-{secrets.token_hex(4)}"
    cluster.make_namespace(namespace)
    try:
        uid = cluster.get("namespace", namespace)["metadata"]["uid"]
        owner = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": uid}
        volume, name = shared_volume(f"pods-{namespace}", folder, "5Gi", owner), f"pods-{namespace}"
        volume["spec"]["storageClassName"] = name
        cluster.apply([{**SHARED_CLASS, "metadata": {"name": name, "ownerReferences": [owner]}}, volume])
        words = ("ensure-volume", "tiny", "--run-id", RUN_ID, "--storage-class", name, "--nodes", 2)
        made = called("manage_volumes.py", cluster, namespace, *words)
        assert made.code == 0, made.document
        yield Place(cluster, namespace, str(made.data["claim"]), folder)
    finally:
        cluster.kubectl("delete", "namespace", namespace, "--timeout=90s")


def write_run(place: Place) -> None:
    """Five steps of which the newest has a flipped bit, and a pod that is gone holds the lock."""
    for step in (100, 150, 200, 250, 300):
        write_step(place.checkpoints, step, end_of_epoch=step % 100 == 0)
    write_tiers(place.checkpoints)
    write_lock(place.checkpoints, {"host": "tiny-worker-7", "boot_id": "x", "pid": 7, "start_time": 7})
    shard = next((place.checkpoints / "step_00000300").glob("shard-00002*"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
