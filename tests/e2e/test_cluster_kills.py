"""The job of two real pods is killed and drained, and its losses are those of a run that nobody disturbed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from cluster_job import ClusterJob
from deployed_job import ROOT, DeployedJob

from tests.components.cluster.running import RAY_IMAGE, Cluster
from tests.training.forking import FULL_STARTS, forked_run, forking

STEPS, RAY_STEPS = (240 if FULL_STARTS else 180), 80
STEP_S = 0.2
"""A kill takes effect within a few steps. On a busy machine kubectl needs seconds, and the training must not end before it: after the
last kill there are a hundred steps."""
KILLED_AT = {"worker container": 15, "worker pod": 45, "master container": 75, "master pod": 105}
DRAINED_AT = 140
if not FULL_STARTS:
    KILLED_AT, DRAINED_AT = {"worker container": 15, "master pod": 45}, 80


def command(steps: int, step_s: float = STEP_S) -> str:
    return f"tests/e2e/slow_loop.py {steps} {step_s}"


def uninterrupted_losses(folder: Path, steps: int) -> dict[int, float]:
    """The same two ranks on this machine, without a cluster."""
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--local-addr=127.0.0.1"]
    words = [*torchrun, *command(steps, 0).split()]
    own = {"TRAINYARD_RUN_DIR": str(folder), "TRAINYARD_CHECKPOINTS": str(folder / "checkpoints")}
    environment = {**os.environ, **own, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **forking()}
    forked_run([sys.executable, *words], cwd=ROOT, env=environment, timeout=900).check_returncode()
    return {step["step"]: step["loss"] for step in map(json.loads, (folder / "steps.jsonl").read_text().splitlines())}


def succeeded(job: ClusterJob) -> bool:
    status = job.cluster.get("pytorchjob", job.name, "--namespace", job.namespace).get("status", {})
    return any(each["type"] == "Succeeded" and each["status"] == "True" for each in status.get("conditions", []))


def test_whatever_is_killed_the_job_goes_on_from_its_newest_checkpoint_with_the_same_losses(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    cluster.make_volumes(namespace, 1)
    keys = {
        "run": f"torchrun {command(STEPS)}",
        "env": {"OMP_NUM_THREADS": "1"},
        "checkpoints": {"storage": {"class": "test-shared", "size": "1Gi"}, "rolling_steps": 10},
        "monitor": {"max_restarts": 10, "stop_grace_s": 30},
    }
    deployed = DeployedJob(cluster, namespace, tmp_path, keys)
    run_id = deployed.call("run", "--yes", "--detach")["data"]["run_id"]
    expected = uninterrupted_losses(tmp_path / "reference", STEPS)
    job = ClusterJob(cluster, namespace, "tiny", run_id, f"tiny-{run_id[:8]}")

    for kind, step in KILLED_AT.items():
        role, _, what = kind.partition(" ")
        kill = job.kill_container if what == "container" else job.kill_pod
        job.wait_for_step(step)
        seconds = job.recovery_after(lambda kill=kill, role=role: kill(role))  # type: ignore[misc]
        print(f"{kind} killed: {seconds['new_step_s']:.1f} s to the first new step, {seconds['repeated']:.0f} steps repeated")
        assert 0 <= seconds["repeated"] <= 10 + 1
    restarts = job.runner()["restarts"]
    containers = sum("container" in kind for kind in KILLED_AT)
    assert restarts >= containers, "a pod that is deleted gets a SIGTERM first and counts as one that leaves, no container does"

    job.wait_for_step(DRAINED_AT)
    drained = job.recovery_after(lambda: job.drain("worker"))
    print(f"worker drained: {drained['new_step_s']:.1f} s to the first new step, {drained['repeated']:.0f} steps repeated")
    assert not succeeded(job), "a drained pod made the job Succeeded before its last step"
    assert drained["repeated"] == 0, "the agreed stop did not save its step"
    assert job.runner()["restarts"] == restarts, "a drain is no failure"

    ended = deployed.call("run", "--timeout", "480")["data"]
    assert (ended["state"], ended["step"]) == ("finished", STEPS)
    assert succeeded(job)
    assert job.losses() == expected
    assert len({line["loss"] for line in job.steps()}) > STEPS / 2, "the losses tell steps apart"


@pytest.mark.skipif(
    not FULL_STARTS, reason="by design: two minutes, in make soak; Ray's stop and its engines are in test_cluster_deploy.py"
)
def test_a_ray_job_goes_on_when_the_pod_of_a_ray_node_is_killed(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    cluster.make_volumes(namespace, 1)
    keys = {
        "engine": "rayjob",
        "run": f"torchrun {command(RAY_STEPS)}",
        "env": {"OMP_NUM_THREADS": "1"},
        "image": {"uri": RAY_IMAGE},
        "resources": {"cpu": "200m", "memory": "3Gi"},
        "checkpoints": {"storage": {"class": "test-shared", "size": "1Gi"}, "rolling_steps": 10},
        "monitor": {"max_restarts": 10, "stop_grace_s": 30},
    }
    deployed = DeployedJob(cluster, namespace, tmp_path, keys)
    run_id = deployed.call("run", "--yes", "--detach")["data"]["run_id"]
    job = ClusterJob(cluster, namespace, "tiny", run_id, f"tiny-{run_id[:8]}")
    job.wait_for_step(15)
    seconds = job.recovery_after(
        lambda: cluster.kubectl(
            "delete", "pods", "--namespace", namespace, "--selector=ray.io/node-type=worker", "--grace-period=0", "--force"
        )
    )
    print(f"Ray worker killed: {seconds['new_step_s']:.1f} s to the first new step, {seconds['repeated']:.0f} steps repeated")
    assert 0 <= seconds["repeated"] <= 10 + 1
    expected = uninterrupted_losses(tmp_path / "reference", RAY_STEPS)
    ended = deployed.call("run", "--timeout", "240")["data"]
    assert (ended["state"], ended["step"]) == ("finished", RAY_STEPS)
    assert job.losses() == expected
