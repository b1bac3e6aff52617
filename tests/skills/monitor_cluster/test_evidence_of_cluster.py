"""`collect` of runs on a real cluster: what is taken, and what is removed."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path

from evidence_pods import IN_SECRET, PASSWORD, TOKEN, collect, evidence, job_with_secrets, left_out, talker

from tests.components.cluster.running import Cluster


def _until(cluster: Cluster, namespace: str, path: str, wanted: str, *words: str) -> None:
    cluster.kubectl("wait", *words, "--namespace", namespace, f"--for=jsonpath={path}={wanted}", "--timeout=110s")


def test_a_job_becomes_a_folder(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Its object, pods, claim, quota, events; ranks and nodes in evidence.json. No secret of it, and no Secret at all."""
    cluster.apply(job_with_secrets("tiny"), "--namespace", namespace)
    cluster.kubectl("wait", "pod", "tiny-master-0", "--namespace", namespace, "--for=create", "--timeout=60s")
    cluster.kubectl("wait", "pod", "tiny-worker-0", "--namespace", namespace, "--for=create", "--timeout=60s")
    folder = tmp_path / "evidence"
    answer = collect(cluster.kubeconfig, namespace, "tiny", "--output", folder)
    assert answer.data["job"] == "PyTorchJob/tiny" and answer.data["pods"] == 2
    head = evidence(folder)
    wanted = {"engine": "pytorchjob", "namespace": namespace, "world_size": 16, "procs_per_node": 8, "run_id": None}
    assert {name: head[name] for name in wanted} == wanted
    assert [(pod["name"], pod["node_rank"]) for pod in head["pods"]] == [("tiny-master-0", 0), ("tiny-worker-0", 1)]
    names = {str(path.relative_to(folder)) for path in folder.rglob("*.json")}
    objects = ("PyTorchJob-tiny", "PersistentVolumeClaim-data", "ResourceQuota-most")
    assert {f"objects/{name}.json" for name in objects} | {"pods/tiny-master-0/pod.json", "events.json"} <= names
    about = {event["involvedObject"]["name"] for event in json.loads((folder / "events.json").read_text())}
    assert {"tiny", "tiny-master-0"} & about and "data" in about
    assert any("StorageClass-nowhere" in what for what in left_out(folder))
    everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for secret in (PASSWORD, IN_SECRET, "0123456789abcdef0123", "bmV2ZXItdG8tYmUtcmVhZC0wODE1"):
        assert secret.encode() not in everything, secret
    assert b'"NCCL_DEBUG",\n' in everything and b"secretKeyRef" in everything and b"managedFields" not in everything
    assert {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]} == {0o700, 0o600}


def test_logs_of_this_start_and_the_one_before(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """With the node's times, whole and cut; bytes that are no text, colours, a long line and a token do not come through."""
    cluster.apply([talker("short"), talker("long", 40_000, restartPolicy="Never")], "--namespace", namespace)
    _until(cluster, namespace, "{.status.containerStatuses[0].lastState.terminated.exitCode}", "1", "pod", "short")
    logs = ("logs", "short", "--namespace", namespace, "--tail=1")
    cluster.kubectl("wait", "pod", "short", "--namespace", namespace, "--for=condition=Ready", "--timeout=60s")
    deadline = time.monotonic() + 60
    while "RuntimeError: the end" not in cluster.kubectl(*logs):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    _until(cluster, namespace, "{.status.phase}", "Failed", "pod", "long")
    folder = tmp_path / "evidence"
    collect(cluster.kubeconfig, namespace, "--selector", "app=short", "--output", folder)
    for name in ("train.log", "train.previous.log"):
        lines = (folder / "pods/short" / name).read_text().splitlines()
        assert "Z begins red HF_TOKEN=***" in lines[0] and lines[-1].endswith("RuntimeError: the end"), name
    assert [*(folder / "nodes").iterdir()] == [folder / "nodes/real-0.json"]
    folder = tmp_path / "long"
    collect(cluster.kubeconfig, namespace, "--selector", "app=long", "--output", folder, "--max-file-mib", 1)
    kept = (folder / "pods/long/train.log").read_bytes()
    assert len(kept) <= 1 << 20 and TOKEN.encode() not in kept and not {0, 27} & set(kept)
    first, last = kept.split(b"\n")[0], kept.rstrip(b"\n").split(b"\n")[-1]
    assert b"line 0 of" in kept[:500] or b"begins red" in first
    assert last.endswith(b"RuntimeError: the end") and kept.count(b" bytes left out ...]\n") >= 1
    assert any("train.log" in what for what in left_out(folder))
