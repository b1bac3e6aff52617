"""A RayJob's retry by the real KubeRay: the pods of the last attempt are still there, and one that wakes up late commits nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray_calls import RUN_ID, Ray

RUN_DIR = f"retried-{RUN_ID}"
DEADLINE_S = 150
HEAD = Path(__file__).with_name("stand_in_head.py")
VARIABLES = {
    "TRAINYARD_RUN_ID": RUN_ID,
    "TRAINYARD_RUN_DIR": f"/trainyard/{RUN_DIR}",
    "TRAINYARD_CHECKPOINTS": f"/trainyard/{RUN_DIR}/checkpoints",
    "TRAINYARD_ROLLING_STEPS": "10",
    "OMP_NUM_THREADS": "1",
}


def rayjob() -> dict[str, Any]:
    container = {
        "name": "trains-here",
        "image": "local.test/trainer:1",
        "command": ["python3", "-c", HEAD.read_text()],
        "env": [{"name": name, "value": value} for name, value in VARIABLES.items()],
        "volumeMounts": [{"name": "trainyard", "mountPath": "/trainyard"}],
        "livenessProbe": {"exec": {"command": ["true"]}},
        "readinessProbe": {"tcpSocket": {"port": 8265}, "periodSeconds": 1},
    }
    pod = {
        "nodeSelector": {"type": "real"},
        "terminationGracePeriodSeconds": 120,
        "containers": [container],
        "volumes": [{"name": "trainyard", "persistentVolumeClaim": {"claimName": "shared"}}],
    }
    template = {"metadata": {"annotations": {"ray.io/overwrite-container-cmd": "true"}}, "spec": pod}
    spec = {
        "entrypoint": "train",
        "submissionMode": "HTTPMode",
        "backoffLimit": 1,
        "rayClusterSpec": {"rayVersion": "2.60.0", "headGroupSpec": {"rayStartParams": {}, "template": template}},
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": "retried"}, "spec": spec}


def until(what: str, ready: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (value := ready()):
        assert time.monotonic() < deadline, f"{what}: not within {DEADLINE_S} s"
        time.sleep(0.2)
    return value


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text())) if path.exists() else {}


def steps(folder: Path) -> dict[int, int]:
    """Committed step -> the incarnation that committed it."""
    manifests = {
        int(path.parent.name[5:]): read(path) for path in (folder / RUN_DIR / "checkpoints").glob("step_????????/manifest.json")
    }
    return {step: manifest["incarnation"] for step, manifest in manifests.items() if manifest}


@pytest.mark.situation(
    "R36", "a RayJob is tried again while its last attempt still trains", "only the new attempt commits; the old one ends"
)
def test_an_attempt_that_was_given_up_and_wakes_up_commits_nothing(ray: Ray) -> None:
    ray.cluster.make_volumes(ray.namespace, 1)
    folder = ray.cluster.make_claim(ray.namespace, "shared")
    lock = folder / RUN_DIR / "checkpoints" / "lock.json"
    ray.apply(rayjob())
    until("a step of the first attempt", lambda: steps(folder))
    seen = ray("status", "retried")
    assert (seen.data["state"], seen.data["container"]) == ("running", "trains-here"), seen.document
    assert ray("logs", "retried").data["lines"] == ["[0] said by the driver"], "KubeRay's own submission has no pod"
    (first,) = read(lock)["attempts"]
    (head,) = [pod["metadata"]["name"] for pod in ray.get("pods")["items"]]
    inside = ("exec", head, "--namespace", ray.namespace, "--", "sh", "-c")
    ray.cluster.kubectl(*inside, "kill -STOP -1")
    (folder / f"fail-{first}").touch()
    second = until("another attempt", lambda: read(lock)["attempts"][1:])[0]
    known = read(lock)["incarnation"]
    until("a step of the second attempt", lambda: known in steps(folder).values())
    pods = {pod["metadata"]["name"]: pod for pod in ray.get("pods")["items"]}
    assert "deletionTimestamp" in pods[head]["metadata"] and len(pods) == 2, "KubeRay has not waited for the first one's end"
    ray.cluster.kubectl(*inside, "kill -CONT -1")
    until("the end of the first attempt", (folder / f"exit-{first}").exists)
    said = (folder / f"said-{first}").read_text(errors="replace")[-4000:]
    assert (folder / f"exit-{first}").read_text() == "1" and not (folder / f"exit-{second}").exists(), said
    newest = max(steps(folder))
    until("further steps of the second attempt", lambda: max(steps(folder)) > newest)
    assert read(lock)["attempts"] == [first, second] and read(lock)["incarnation"] == known
    assert {incarnation for step, incarnation in steps(folder).items() if step > newest} == {known}
    assert read(folder / RUN_DIR / "runner.json")["state"] == "running", "the first attempt's end is not the run's"
    ray.cluster.kubectl("delete", "rayjob", "retried", "--namespace", ray.namespace, "--wait=false")
    ray.cluster.kubectl("delete", "pods", "--all", "--namespace", ray.namespace, "--force", "--grace-period=0")
