"""`collect` of runs on a cluster: what is taken, what is removed, and what becomes of it when the cluster refuses or goes away."""

from __future__ import annotations

import json
import stat
import sys
import time
from pathlib import Path

import pytest
from evidence_pods import (
    IN_SECRET,
    PASSWORD,
    PROGRAM,
    TOKEN,
    collect,
    evidence,
    job_with_secrets,
    kubeconfig_of,
    left_out,
    talker,
)

from tests.components.cluster.door import door_to
from tests.components.cluster.running import Cluster
from tests.training.forking import SkillPopen

PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


def _until(cluster: Cluster, namespace: str, path: str, wanted: str, *words: str) -> None:
    cluster.kubectl("wait", *words, "--namespace", namespace, f"--for=jsonpath={path}={wanted}", "--timeout=60s")


def test_a_job_becomes_a_folder(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Its object, pods, claim, quota, events; ranks and nodes in evidence.json. No secret of it, and no Secret at all."""
    cluster.apply(job_with_secrets("tiny"), "--namespace", namespace)
    cluster.kubectl("wait", "pod", "tiny-master-0", "--namespace", namespace, "--for=create", "--timeout=60s")
    cluster.kubectl("wait", "pod", "tiny-worker-0", "--namespace", namespace, "--for=create", "--timeout=60s")
    folder = tmp_path / "evidence"
    answer = collect(cluster, namespace, "tiny", "--output", folder)
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
    cluster.apply([talker("short"), talker("long", 150_000, restartPolicy="Never")], "--namespace", namespace)
    _until(cluster, namespace, "{.status.containerStatuses[0].restartCount}", "1", "pod", "short")
    _until(cluster, namespace, "{.status.phase}", "Failed", "pod", "long")
    folder = tmp_path / "evidence"
    collect(cluster, namespace, "--selector", "app=short", "--output", folder)
    for name in ("train.log", "train.previous.log"):
        lines = (folder / "pods/short" / name).read_text().splitlines()
        assert "Z begins red HF_TOKEN=***" in lines[0] and lines[-1].endswith("RuntimeError: the end"), name
    assert [*(folder / "nodes").iterdir()] == [folder / "nodes/real-0.json"]
    folder = tmp_path / "long"
    collect(cluster, namespace, "--selector", "app=long", "--output", folder, "--max-file-mib", 1)
    kept = (folder / "pods/long/train.log").read_bytes()
    assert len(kept) <= 1 << 20 and TOKEN.encode() not in kept and not {0, 27} & set(kept)
    first, last = kept.split(b"\n")[0], kept.rstrip(b"\n").split(b"\n")[-1]
    assert b"line 0 of" in kept[:500] or b"begins red" in first
    assert last.endswith(b"RuntimeError: the end") and kept.count(b" bytes left out ...]\n") >= 1
    assert any("train.log" in what for what in left_out(folder))


def test_what_may_not_be_read_is_named(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """Somebody who may read pods alone gets those, and the rules that are missing for the rest."""
    cluster.apply([talker("short")], "--namespace", namespace)
    cluster.kubectl("wait", "pod", "short", "--namespace", namespace, "--for=jsonpath={.spec.nodeName}", "--timeout=30s")
    reader = cluster.user("reader", namespace, rules=[PODS])
    folder = tmp_path / "evidence"
    collect(cluster, namespace, "--selector", "app=short", "--output", folder, user=reader)
    assert (folder / "pods/short/pod.json").exists() and not (folder / "nodes").exists()
    missing = left_out(folder)
    for what, rule in (("nodes/real-0.json", '"nodes"'), ("objects/ResourceQuota-*.json", '"resourcequotas"')):
        assert rule in missing[what], missing
    assert any(what.startswith("events.json") and '"events"' in why for what, why in missing.items())


def test_the_api_server_goes_away(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """In the middle: what was read by then is a folder, the rest is named, and nobody waits for each of them."""
    cluster.apply([talker(f"pod-{number}", 100_000, restartPolicy="Never") for number in range(2)], "--namespace", namespace)
    for number in range(2):
        _until(cluster, namespace, "{.status.phase}", "Failed", "pod", f"pod-{number}")
    door, through = door_to(cluster.kubeconfig, tmp_path)
    folder = tmp_path / "evidence"
    words = ["collect", "--selector", "app in (pod-0,pod-1)", "-n", namespace, "--output", str(folder)]
    program = SkillPopen([sys.executable, str(PROGRAM), *words], env=kubeconfig_of(through), text=True)
    try:
        deadline = time.monotonic() + 60
        while not [*tmp_path.glob(".evidence.*.tmp/events.json")]:
            assert time.monotonic() < deadline and program.poll() is None
            time.sleep(0.002)
        door.shut()
        assert program.wait(timeout=60) == 0
    finally:
        program.kill()
    assert len([*(folder / "pods").iterdir()]) == 2 and json.loads((folder / "events.json").read_text())
    assert any("log" in what and ("stopped answering" in why or "breaks off" in why) for what, why in left_out(folder).items())


def test_a_name_that_is_nowhere(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    assert collect(cluster, namespace, "nobody", "--output", tmp_path / "evidence", code=3).error["code"] == "not-found"
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("words", [(), ("tiny", "--selector", "app=x")])
def test_which_run_must_be_said_once(cluster: Cluster, namespace: str, words: tuple[str, ...]) -> None:
    collect(cluster, namespace, *words, code=2)
