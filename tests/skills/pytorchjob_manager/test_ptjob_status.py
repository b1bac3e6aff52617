"""status: states, and findings that name the cause, on the real node and the real API."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from ptjob_call import KWOK, NOWHERE, OURS, PYTHON, REAL, RUN, Manager

from tests.components.cluster.running import TRAINER_IMAGE, Cluster

SLEEP = ("--", "python3", "-c", "import time; time.sleep(600)")


def claim(name: str, namespace: str, **spec: object) -> dict[str, object]:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, **spec}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": wanted}


def test_what_keeps_a_pod_from_running_is_found_with_cause_and_next_command(manager: Manager, cluster: Cluster) -> None:
    """One job a cause; the pods wait side by side."""
    cluster.apply([claim("pending", manager.namespace, storageClassName="no-such-class")])
    causes = {
        "node.resource": ("--gpus", "99", *KWOK),
        "node.selector": NOWHERE,
        "node.taint": ("--node-selector", "type=kwok"),
        "volume.missing": ("--claim", "no-such-claim", *KWOK),
        "volume.pending": ("--claim", "pending", *KWOK),
        "image.unreachable": ("--image", "registry.invalid/team/image:1", *REAL),
        "container.config": ("--image", PYTHON, "--secret", "HF_TOKEN=no-such/key", *REAL),
        "container.start": ("--image", PYTHON, *REAL),
    }
    for cause, words in causes.items():
        command = ("--", "/no/such/program") if cause == "container.start" else SLEEP
        assert manager.create(cause.replace(".", "-"), *words, command=command).code == 0
    for cause in causes:
        seen = manager.until_found(cause, cause.replace(".", "-"))
        assert seen.code == 0 and seen.finding(cause)["fix"] and seen.data["state"] != "running"
    assert "no-such/key" not in json.dumps(manager("status", "container-config").data["findings"])


@pytest.mark.situation(
    "S39", "a job waits for nodes that an autoscaler would add", "`status` says what the autoscaler says of its pods"
)
def test_what_an_autoscaler_says_of_a_waiting_pod_comes_first(manager: Manager, cluster: Cluster) -> None:
    """The events are Cluster Autoscaler's and Karpenter's, in their own words; the newest counts."""
    manager.create("grows", *NOWHERE, *KWOK[2:])
    pod = manager.until_found("node.selector", "grows").data["pods"][0]["name"]
    uid = cluster.get("pods", pod, "--namespace", manager.namespace)["metadata"]["uid"]
    words = {
        "NotTriggerScaleUp": ("nodes.not-coming", "pod didn't trigger scale-up: 1 max node group size reached"),
        "TriggeredScaleUp": ("nodes.coming", "pod triggered scale-up: [{eks-gpu-1c2d 0->2 (max: 4)}]"),
        "FailedScheduling": ("nodes.not-coming", 'Failed to schedule pod, incompatible with nodepool "gpu", all available instance types exceed limits'),
        "Nominated": ("nodes.coming", "Pod should schedule on: nodeclaim/gpu-x7c2p"),
    }  # fmt: skip
    for minute, (reason, (finding, message)) in enumerate(words.items()):
        cluster.apply([event_of(manager.namespace, pod, uid, reason, message, minute)])
        first, *rest = manager("status", "grows").data["findings"]
        assert first["id"] == finding and message in first["summary"] and first["fix"], first
        assert "node.selector" in [each["id"] for each in rest], "the scheduler's own word is still there"


def event_of(namespace: str, pod: str, uid: str, reason: str, message: str, minute: int) -> dict[str, object]:
    """Of a pod, one minute younger than the last."""
    time_ = f"2099-01-01T00:{minute:02}:00Z"
    about = {"kind": "Pod", "namespace": namespace, "name": pod, "uid": uid}
    metadata = {"name": f"{pod}.{minute}", "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata,
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "type": "Normal",
        "firstTimestamp": time_,
        "lastTimestamp": time_,
    }


def test_a_quota_that_refuses_the_pods_is_named_though_there_is_no_pod(manager: Manager, cluster: Cluster) -> None:
    cluster.apply([quota_of_8(manager.namespace)])
    for engine in ("pytorchjob", "trainjob"):
        manager.create(engine, "--engine", engine, "--gpus", "16", *KWOK)
        seen = manager.until_found("quota", engine)
        assert seen.data["pods"] == [] and "small" in seen.finding("quota")["summary"]


def test_what_is_wrong_with_a_job_whose_name_begins_alike_is_not_told_of_this_one(manager: Manager, cluster: Cluster) -> None:
    cluster.apply([quota_of_8(manager.namespace)])
    for name in ("tiny", "tiny-node-1", "tiny-worker-0-a"):
        manager.create(name, "--gpus", "16", *KWOK)
        manager.until_found("quota", name)
    assert manager("status", "tiny").finding("quota")["summary"].endswith("(object tiny)")


def quota_of_8(namespace: str) -> dict[str, object]:
    """A ResourceQuota of eight GPUs."""
    metadata = {"name": "small", "namespace": namespace}
    spec = {"hard": {"requests.nvidia.com/gpu": "8"}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(("code", "state"), [("0", "finished"), ("1", "failed")])
def test_the_end_is_told_by_state_and_exit_code(manager: Manager, code: str, state: str) -> None:
    annotations = ("--pod-annotation", "fake/complete-after=1s", "--pod-annotation", f"fake/exit-code={code}")
    manager.create("ends", "--nodes", "2", *KWOK, *annotations)
    done = manager("wait", "ends", "--timeout", "60")
    assert (done.code, done.data["state"]) == (int(code), state)
    if code == "1":
        assert done.finding("exit.1")["fix"].startswith("logs")


def test_a_pod_that_a_signal_ended_is_made_anew_and_the_job_does_not_fail(manager: Manager, cluster: Cluster) -> None:
    annotations = ("--pod-annotation", "fake/complete-after=1s", "--pod-annotation", "fake/exit-code=137")
    manager.create("killed", *KWOK, *annotations)
    seen: set[str] = set()
    deadline = time.monotonic() + 60
    while len(seen) < 2:
        pods = cluster.get("pods", "", "-n", manager.namespace)["items"]
        seen |= {pod["metadata"]["uid"] for pod in pods}
        assert time.monotonic() < deadline, pods
    assert manager("status", "killed").data["state"] in ("running", "restarting")


ENDLESS_BEFORE = {
    "memory": (("--memory", "64Mi"), ("python3", "-c", "x = bytearray(10**9)"), 1, "memory.out", "max_restarts (1) is used up"),
    "program": ((), ("no-such-program", "--steps", "4"), 0, "container.start", "no-such-program cannot be started"),
}


@pytest.mark.situation(
    "S27",
    "a one-process job that runs out of memory again and again",
    "ends after max_restarts, with memory.out and the true count",
)
@pytest.mark.situation("S28", "a one-process job whose program is not in the image", "ends at once: cannot pass")
@pytest.mark.parametrize("image", [PYTHON, TRAINER_IMAGE])
def test_a_plain_program_is_started_again_only_so_often_and_its_end_has_a_cause_and_a_true_count(
    manager: Manager, image: str
) -> None:
    """In an image that has trainyard, and in one that has not."""
    for name, (more, command, *_) in ENDLESS_BEFORE.items():
        manager.create(name, "--image", image, *REAL, "--max-restarts", "1", *more, command=("--", *command))
    for name, (_, _, restarts, finding, reason) in ENDLESS_BEFORE.items():
        done = manager("wait", name, "--timeout", "90")
        assert (done.code, done.data["state"], done.data["restarts"]) == (1, "failed", restarts)
        assert reason in done.data["reason"] and done.finding(finding)["fix"]
        assert finding != "memory.out" or "its limit is 64Mi" in done.finding(finding)["summary"]
        assert len(done.data["pods"]) == 1


def test_a_container_that_crashes_again_and_again_in_its_pod_is_not_running(manager: Manager) -> None:
    """A TrainJob's container is restarted in place: its pod's phase is Running between two crashes."""
    command = ("--", "python3", "-c", "raise SystemExit(1)")
    manager.create("crashes", "--engine", "trainjob", "--image", PYTHON, *REAL, command=command)
    seen = manager.until("restarting", "crashes")
    assert seen.data["nodes"]["running"] == 0
    # until the kubelet has looked at it again the container is not waiting, but has ended
    assert seen.data["pods"][0]["phase"] == "Running" and seen.data["pods"][0]["reason"] in (
        "CrashLoopBackOff",
        "Error (exit 1)",
    )
    assert seen.finding("exit.1")["fix"] and "logs crashes" in seen.document["next"][0]


def test_a_hyperpod_job_is_restarted_up_to_its_count_and_then_failed(manager: Manager, hyperpod: None) -> None:
    annotations = ("--pod-annotation", "fake/complete-after=1s", "--pod-annotation", "fake/exit-code=1")
    manager.create("fails", "--engine", "hyperpodjob", "--max-restarts", "1", *KWOK, *annotations)
    done = manager("wait", "fails", "--timeout", "60")
    assert (done.code, done.data["state"]) == (1, "failed") and "jobMaxRetryCount" in done.data["reason"]


def test_a_failed_pod_that_is_slow_to_go_counts_as_one_restart(manager: Manager, cluster: Cluster, hyperpod: None) -> None:
    """A finalizer holds it, as a loaded kubelet does for a moment; it is what the played operator counts that is tested here."""
    command = ("--", "python3", "-c", "import time; time.sleep(3); raise SystemExit(1)")
    manager.create("slow", "--engine", "hyperpodjob", "--max-restarts", "1", "--image", PYTHON, *REAL, command=command)
    pod = manager.until("running", "slow").data["pods"][0]["name"]
    held = ("patch", "pod", pod, "--namespace", manager.namespace, "--type=merge", "--patch")
    cluster.kubectl(*held, '{"metadata":{"finalizers":["test.trainyard.dev/held"]}}')

    def status() -> dict[str, Any]:
        return dict(cluster.get("hyperpodpytorchjobs", "slow", "--namespace", manager.namespace).get("status") or {})

    try:
        cluster.kubectl("wait", "--for=jsonpath={.metadata.deletionTimestamp}", f"pod/{pod}", "-n", manager.namespace)
        time.sleep(2)
        assert status()["restartCount"] == 1 and manager("status", "slow").data["state"] != "failed", status()
    finally:
        cluster.kubectl(*held, '{"metadata":{"finalizers":null}}')
    assert manager("wait", "slow", "--timeout", "60").data["state"] == "failed"


def test_the_list_has_the_jobs_of_every_engine_and_of_nobody_else(manager: Manager, hyperpod: None) -> None:
    for engine in ("pytorchjob", "trainjob", "hyperpodjob"):
        manager.create(engine, "--engine", engine, "--nodes", "2", *NOWHERE)
    listed = manager("list")
    assert listed.code == 0 and listed.data["total"] == 3
    assert {row["engine"]: row["nodes"] for row in listed.data["jobs"]} == dict.fromkeys(
        ("pytorchjob", "trainjob", "hyperpodjob"), 2
    )
    assert {row["run_id"] for row in listed.data["jobs"]} == {RUN}
    assert manager("list", "--limit", "1").document["truncated"] is True


def test_a_trainjob_is_suspended_and_resumed_and_cannot_be_resized(manager: Manager) -> None:
    manager.create("tj", "--engine", "trainjob", "--nodes", "2", *NOWHERE)
    manager.until_found("node.selector", "tj")
    assert manager("suspend", "tj", *OURS).code == 0
    assert manager.until("suspended", "tj", nodes=0).data["nodes"]["wanted"] == 2
    assert manager("resume", "tj", *OURS).code == 0
    manager.until("pending", "tj")
    assert [manager("scale", "tj", *OURS, "--nodes", nodes).code for nodes in ("3", "2")] == [2, 0]
    assert manager("delete", "tj", "--run-id", RUN).code == 6
    assert manager("delete", "tj", "--run-id", RUN, "--yes").data["state"] == "absent"
    assert manager("delete", "tj", "--run-id", RUN, "--yes").document["changed"] == []
    assert manager("status", "tj").code == 3


def test_an_elastic_job_is_resized_without_a_restart_and_only_within_its_bounds(manager: Manager, cluster: Cluster) -> None:
    manager.create("elastic", "--nodes", "2", "--min-nodes", "1", "--max-nodes", "4", *KWOK)
    seen = manager.until("running", "elastic", nodes=2)
    assert [row["rank"] for row in seen.data["pods"]] == [0, 1]
    uid = cluster.get("pod", "elastic-worker-0", "-n", manager.namespace)["metadata"]["uid"]
    assert manager("scale", "elastic", *OURS, "--nodes", "3").data["restarts"] is False
    manager.until("running", "elastic", nodes=3)
    assert cluster.get("pod", "elastic-worker-0", "-n", manager.namespace)["metadata"]["uid"] == uid
    assert manager("scale", "elastic", *OURS, "--nodes", "5").code == 2


def test_what_stopping_a_job_without_a_volume_costs_is_told(manager: Manager) -> None:
    for name, words in {"loose": (), "kept": ("--claim", "no-such-claim")}.items():
        manager.create(name, *words, *NOWHERE)
        warned = ["checkpoints"] if name == "loose" else []
        dry = manager("scale", name, *OURS, "--nodes", "2", "--dry-run")
        done = manager("scale", name, *OURS, "--nodes", "2")
        assert [each["id"] for each in dry.document["checks"]] == [each["id"] for each in done.document["checks"]] == warned
        assert ("step 0" in done.stderr, "newest checkpoint" in done.stderr) == (name == "loose", name == "kept")
        assert [each["id"] for each in manager("suspend", name, *OURS).document["checks"]] == warned
