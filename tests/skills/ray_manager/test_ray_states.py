"""Every word of Ray and KubeRay, written into the status on the real API server, becomes one state.

The objects carry `managedBy: kueue.x-k8s.io/multikueue`, so KubeRay leaves them and their status alone.
"""

from __future__ import annotations

import pytest
from ray_calls import HEAD, RUN_ID, Ray, ours

from tests.components.cluster.nodes import FAKE_SELECTOR, FAKE_TOLERATION

LONG_AGO = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("deployment", "ray_says", "state"),
    [
        ("", "", "pending"),
        ("Initializing", "", "pending"),
        ("Waiting", "", "pending"),
        ("Running", "PENDING", "pending"),
        ("Complete", "SUCCEEDED", "finished"),
        ("Running", "SUCCEEDED", "finished"),
        ("Complete", "STOPPED", "failed"),
        ("Running", "STOPPED", "failed"),
        ("Running", "FAILED", "failed"),
        ("Failed", "FAILED", "failed"),
        ("Failed", "", "failed"),
        ("ValidationFailed", "", "failed"),
        ("Suspending", "RUNNING", "suspended"),
        ("Suspended", "", "suspended"),
        ("Retrying", "FAILED", "restarting"),
        ("Complete", "", "failed"),
    ],
)
def test_each_word_of_kuberay_and_ray_is_one_state(shared_ray: Ray, deployment: str, ray_says: str, state: str) -> None:
    name = f"job-{deployment or 'new'}-{ray_says or 'none'}".lower()
    shared_ray.put_job(name, {"jobDeploymentStatus": deployment, "jobStatus": ray_says, "message": "because"})
    seen = shared_ray("status", name, "--kind", "rayjob")
    assert (seen.exit_code, seen.data["state"]) == (0, state)
    assert seen.data["reason"] == "because"


def test_success_ends_a_wait_with_0_a_failure_with_1_and_neither_is_waited_for_for_ever(shared_ray: Ray) -> None:
    shared_ray.put_job("won", {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})
    shared_ray.put_job(
        "lost",
        {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": "last lines"},
    )
    shared_ray.put_job("goes-on", {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"})
    assert shared_ray("wait", "won", "--timeout", "20").exit_code == 0
    lost = shared_ray("wait", "lost", "--timeout", "20")
    assert lost.exit_code == 1 and lost.check("run.finished")["summary"] == "failed: AppFailed: last lines"
    late = shared_ray("wait", "goes-on", "--timeout", "3")
    assert late.exit_code == 7 and late.error["retryable"] and late.data["run_id"] == RUN_ID


def test_a_failed_attempt_with_another_to_come_is_restarting(shared_ray: Ray) -> None:
    shared_ray.put_job("again", {"jobDeploymentStatus": "Running", "jobStatus": "FAILED", "failed": 0}, backoffLimit=1)
    assert shared_ray("status", "again").data["state"] == "restarting"


@pytest.mark.parametrize(
    ("conditions", "ready", "state"),
    [
        ({}, 0, "pending"),
        ({"HeadPodReady": "False"}, 2, "pending"),
        ({"HeadPodReady": "True"}, 1, "pending"),
        ({"HeadPodReady": "True", "RayClusterProvisioned": "True"}, 2, "running"),
        ({"HeadPodReady": "True", "RayClusterProvisioned": "True"}, 1, "restarting"),
        ({"HeadPodReady": "False", "RayClusterProvisioned": "True"}, 2, "restarting"),
        ({"RayClusterSuspended": "True", "RayClusterProvisioned": "True"}, 0, "suspended"),
        ({"RayClusterSuspending": "True", "HeadPodReady": "True"}, 2, "suspended"),
    ],
)
def test_each_set_of_conditions_of_a_cluster_is_one_state(
    shared_ray: Ray, conditions: dict[str, str], ready: int, state: str
) -> None:
    name = f"cluster-{ready}-{state}-{len(conditions)}-{conditions.get('HeadPodReady', 'x')}".lower()
    rows = [
        {"type": kind, "status": value, "reason": "R", "message": "", "lastTransitionTime": LONG_AGO}
        for kind, value in conditions.items()
    ]
    status = {"conditions": rows, "readyWorkerReplicas": ready, "desiredWorkerReplicas": 2, "observedGeneration": 1}
    shared_ray.put("RayCluster", name, {"headGroupSpec": HEAD}, status)
    seen = shared_ray("status", name, "--kind", "raycluster")
    assert (seen.exit_code, seen.data["state"]) == (0, state)


@pytest.mark.situation(
    "S15", "somebody else's job with a name of 50 letters", "it is shown: our limit of 40 is for names that we give"
)
def test_a_name_longer_than_ours_may_be_is_looked_at(shared_ray: Ray) -> None:
    """KubeRay's limits of 47 and 53 are for what it is to make pods of."""
    name = "somebody-elses-" + "x" * 45
    shared_ray.put("RayCluster", name, {"headGroupSpec": HEAD}, {})
    seen = shared_ray("status", name)
    assert (len(name), seen.data["name"]) == (60, name)
    assert "multikueue" in seen.findings()["job.managed-elsewhere"]["summary"]
    beyond = shared_ray("status", "a" * 254)
    assert beyond.exit_code == 2 and "at most 253" in beyond.error["message"]


def test_a_finished_job_whose_cluster_still_holds_gpus_is_told(ray: Ray) -> None:
    ended = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED", "endTime": LONG_AGO, "rayClusterName": "held-abcde"}
    ray.put_job("held", ended, shutdownAfterJobFinishes=True, ttlSecondsAfterFinished=60)
    assert "ray.holds-cluster" not in ray("status", "held").findings(), "nothing is held yet"
    marks = {**ours("held"), "ray.io/is-ray-node": "yes", "ray.io/node-type": "head"}
    resources = {"limits": {"nvidia.com/gpu": "8"}, "requests": {"nvidia.com/gpu": "8"}}
    container = {"name": "ray", "image": "any", "resources": resources}
    spec = {"containers": [container], "nodeSelector": FAKE_SELECTOR, "tolerations": [FAKE_TOLERATION]}
    ray.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "held-head", "labels": marks}, "spec": spec})
    ray.cluster.kubectl(
        "wait", "--for=jsonpath={.status.phase}=Running", "pod/held-head", "--namespace", ray.namespace, "--timeout=30s"
    )
    finding = ray("status", "held").findings()["ray.holds-cluster"]
    assert "held-abcde still holds 1 pods with 8 accelerators" in finding["summary"]
    assert finding["fix"] == f"manage_ray.py delete held --run-id {RUN_ID} --yes"
