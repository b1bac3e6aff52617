"""A HyperPodPyTorchJob in pods with AWS's real launcher: stopped by its operator, drained, deleted while it waits; nothing is lost."""

from __future__ import annotations

import time
from pathlib import Path

from cluster_job import ClusterJob
from deployed_job import DeployedJob

from tests.components.cluster.running import Cluster
from tests.components.hyperpod import launcher
from tests.components.hyperpod.controller import ASK

KIND = "hyperpodpytorchjob"
ENGINE = {
    "engine": "hyperpodjob",
    "target": "hyperpod",
    "monitor": {"stop_grace_s": 20},
    "resources": {"cpu": "100m", "memory": "3Gi"},
}


def ask(cluster: Cluster, namespace: str, word: str) -> None:
    """`word-` takes the wish back."""
    mark = f"{ASK}-" if not word else f"{ASK}={word}"
    cluster.kubectl("annotate", "--overwrite", KIND, "tiny", mark, "--namespace", namespace)


def test_a_graceful_stop_and_a_drained_pod_lose_no_step(
    cluster: Cluster, hyperpod: None, namespace: str, tmp_path: Path
) -> None:
    launcher.need()
    cluster.make_volumes(namespace, 1)
    storage = {"class": "test-shared", "size": "1Gi"}
    keys = {
        "run": "torchrun tests/e2e/slow_loop.py 400 0.05",
        **ENGINE,
        "checkpoints": {"storage": storage, "rolling_steps": 100_000},
    }
    deployed = DeployedJob(cluster, namespace, tmp_path, keys)
    run_id = deployed.call("run", "--yes", "--detach")["data"]["run_id"]
    job = ClusterJob(cluster, namespace, "tiny", run_id, f"tiny-{run_id[:8]}")
    job.wait_for_step(20)

    ask(cluster, namespace, "restart")
    job.wait_for("restored", lambda: len(job.events("restored")) == 2)
    saved = job.events("committed")[-1]
    assert (saved["reasons"], job.events("restored")[-1]["step"]) == (["stop"], saved["step"])
    assert job.events("stopping")[-1]["signal"] == "SIGUSR1"

    job.wait_for_step(saved["step"] + 20)
    drained = "tiny-pods-1"
    began = time.monotonic()
    cluster.kubectl("delete", "pod", drained, "--namespace", namespace)
    print(f"the pod was gone after {time.monotonic() - began:.1f} s")
    job.wait_for("restored again", lambda: len(job.events("restored")) == 3)
    again = job.events("committed")[-1]
    assert (again["reasons"], job.events("restored")[-1]["step"]) == (["stop"], again["step"])
    ended = deployed.call("run", "--yes", "--timeout", "240")["data"]
    assert (ended["state"], ended["step"]) == ("finished", 400)
    assert [line["step"] for line in job.steps()] == list(range(1, 401)), "no step is trained twice"


def test_a_job_that_waits_for_its_start_is_deleted_at_once(
    cluster: Cluster, hyperpod: None, namespace: str, tmp_path: Path
) -> None:
    """As process 1 of its container the launcher would ignore SIGTERM, for the whole grace period of 50 s."""
    launcher.need()
    cluster.make_volumes(namespace, 1)
    keys = {"run": "torchrun tests/e2e/slow_loop.py 400 0.05", **ENGINE}
    deployed = DeployedJob(cluster, namespace, tmp_path, keys)
    run_id = deployed.call("run", "--yes", "--detach")["data"]["run_id"]
    ask(cluster, namespace, "graceful-stop")
    job = ClusterJob(cluster, namespace, "tiny", run_id, f"tiny-{run_id[:8]}")
    running = f"--selector=trainyard.dev/run-id={run_id}", "--field-selector=status.phase=Running"
    job.wait_for("pods", lambda: len(cluster.get("pods", "", "--namespace", namespace, *running)["items"]) == 2)
    time.sleep(3)
    began = time.monotonic()
    assert deployed.call("stop")["data"]["state"] == "stopped"
    assert time.monotonic() - began < 20
