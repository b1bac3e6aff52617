"""A run on a real API server whose pods' commands run on this machine: its run folder is one here, and must be judged alike."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from monitor_calls import Monitor, bad

from tests.calling import SKILLS
from tests.components.cluster.nodes import FAKE_SELECTOR, FAKE_TOLERATION
from tests.components.cluster.running import Cluster

EXAMPLE = SKILLS / "monitor" / "assets" / "example-run"
RUN_ID = "0123456789abcdef"
LABELS = {"app.kubernetes.io/managed-by": "trainyard", "trainyard.dev/run": "tiny", "trainyard.dev/run-id": RUN_ID}


def pytorchjob(name: str, folder: Path, *, complete_after: str | None = None) -> dict[str, Any]:
    container = {"name": "pytorch", "image": "any", "env": [{"name": "TRAINYARD_RUN_DIR", "value": str(folder)}]}
    spec = {"nodeSelector": FAKE_SELECTOR, "tolerations": [FAKE_TOLERATION], "containers": [container]}
    notes = {"fake/complete-after": complete_after} if complete_after else {}
    replica = {
        "replicas": 1,
        "restartPolicy": "OnFailure",
        "template": {"metadata": {"labels": LABELS, "annotations": notes}, "spec": spec},
    }
    meta = {"name": name, "labels": LABELS}
    replicas = {"Master": replica, "Worker": replica}
    return {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": meta, "spec": {"pytorchReplicaSpecs": replicas}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that goes on: 200 steps of a second, a validation loss every 20, the last step now; a checkpoint of step 180."""
    path, now = tmp_path / "volume", time.time()
    step_folder = path / "checkpoints" / "step_00000180"
    step_folder.mkdir(parents=True)
    (step_folder / "manifest.json").write_text("{}")
    events = [{"time": now - 210, "type": "attempt", "source": "runner", "attempt": 0}]
    events += [{"time": now - 205, "type": "start", "source": "trainer", "incarnation": 1, "attempt": 0, "total_steps": 400}]
    events += [{"time": now - 200, "type": "training", "source": "trainer", "incarnation": 1, "step": 0}]
    events += [{"time": now - 20, "type": "committed", "source": "trainer", "incarnation": 1, "step": 180}]
    steps = []
    for step in range(1, 201):
        row = {
            "step": step,
            "time": now - 200 + step,
            "incarnation": 1,
            "loss": 5 - step / 100,
            "step_s": 1.0,
            "blocked_s": 0.0,
        }
        steps.append(row | ({"val_loss": 4 - step / 100} if step % 20 == 0 else {}))
    for name, rows in (("steps.jsonl", steps), ("events.jsonl", events)):
        (path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    runner = {"state": "running", "run_id": RUN_ID, "name": "tiny", "started": now - 210, "max_restarts": 3}
    (path / "runner.json").write_text(json.dumps(runner))
    return path


def submit(cluster: Cluster, monitor: Monitor, folder: Path, **words: Any) -> None:
    where = ("--namespace", str(monitor.namespace))
    cluster.apply([pytorchjob("tiny", folder, **words)], *where)
    for _ in range(100):
        if cluster.kubectl("get", "pods", *where, "--output=name").count("pod/") == 2:
            break
        time.sleep(0.1)
    cluster.kubectl("wait", "--for=condition=Ready", "pod", "--all", *where, "--timeout=60s")


def test_the_run_folder_on_the_volume_is_judged_as_one_here(cluster: Cluster, monitor: Monitor, folder: Path) -> None:
    submit(cluster, monitor, folder)
    there, here = monitor("status", "tiny").data, Monitor(monitor.kubeconfig, None, monitor.folder)("status", folder).data
    for field in (
        "step",
        "total_steps",
        "loss",
        "loss_smoothed",
        "val_loss",
        "restarts",
        "max_restarts",
        "attempt",
        "step_s_median",
    ):
        assert there[field] == here[field], field
    assert (there["state"], there["last_checkpoint"]["step"], there["eta_s"]) == ("running", 180, pytest.approx(200))
    account = there["summary"]["account"]
    assert sum(account.values()) == pytest.approx(there["summary"]["wall_s"])
    assert account["productive"] > 195 and account["starting"] == pytest.approx(10, abs=1)
    assert there["records"] == f"{folder} through pod tiny-master-0"
    health = monitor("health", "tiny", "--stall-factor", "300")
    assert (health.code, bad(health)) == (0, {}), health.document
    assert "GiB free for" in health.check("disk.space")["summary"]

    rows = (folder / "steps.jsonl").read_text().splitlines()
    late = [{**json.loads(row), "time": json.loads(row)["time"] - 3600} for row in rows]
    (folder / "steps.jsonl").write_text("".join(json.dumps(row) + "\n" for row in late))
    assert bad(monitor("health", "tiny"))["progress.stalled"] == "fail"
    (folder / "steps.jsonl").write_text("\n".join([*rows[:-1], rows[-1].replace('"loss": 3.0', '"loss": "nan"')]) + "\n")
    assert bad(monitor("health", "tiny", "--stall-factor", "300"))["loss.finite"] == "fail"


def test_curves_metrics_and_event_files_come_from_the_volume(cluster: Cluster, monitor: Monitor, folder: Path) -> None:
    shutil.copytree(EXAMPLE, folder, dirs_exist_ok=True)
    (folder / "tensorboard").mkdir()
    (folder / "tensorboard" / "events.out.tfevents.1").touch()
    submit(cluster, monitor, folder)
    report = monitor("report", "tiny")
    assert (report.data["summary"]["last_loss"], report.data["path"]) == (2.480506, str(monitor.folder / "tiny.report.html"))
    assert (monitor.folder / "tiny.report.html").read_text().count("<svg") > 1
    metrics = monitor("metrics", "tiny", "--limit", "2", "--export", "tiny.csv")
    assert (metrics.data["summary"]["last_step"], metrics.data["format"]) == (40, "trainyard")
    shown = monitor("tensorboard", "tiny").data
    assert shown["event_files"] == 1
    assert shown["copy"].startswith(f"kubectl cp -n {monitor.namespace} -c pytorch tiny-master-0:{folder}/tensorboard")


def test_who_may_not_exec_reads_logs_and_who_may_not_either_is_told_unknown(
    cluster: Cluster, monitor: Monitor, folder: Path
) -> None:
    submit(cluster, monitor, folder)
    jobs = {"apiGroups": ["kubeflow.org"], "resources": ["pytorchjobs"], "verbs": ["get"]}
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
    logs = {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}
    assert monitor.namespace
    reader = monitor.as_user(cluster.user("reader", monitor.namespace, rules=[jobs, pods, logs]))
    assert reader("status", "tiny").data["records"].startswith("log of pod tiny-")
    blind = monitor.as_user(cluster.user("blind", monitor.namespace, rules=[jobs, pods]))
    health = blind("health", "tiny")
    assert (health.code, bad(health)["records.readable"], bad(health)["progress.stalled"]) == (1, "unknown", "unknown")
    assert "pods/exec" in health.check("records.readable")["evidence"]


def test_what_kubernetes_says_comes_before_progress(cluster: Cluster, monitor: Monitor, folder: Path) -> None:
    job = pytorchjob("tiny", folder)
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        replica["template"]["spec"]["nodeSelector"] = {"no": "such"}
    cluster.apply([job], "--namespace", str(monitor.namespace))
    for _ in range(100):
        health = monitor("health", "tiny", "--start-limit-s", "0")
        if "node.selector" in bad(health):
            break
        time.sleep(0.3)
    ids = [check["id"] for check in health.document["checks"]]
    assert (bad(health)["pods.running"], bad(health)["node.selector"]) == ("fail", "fail")
    assert ids.index("node.selector") < ids.index("progress.stalled")


def test_a_run_is_watched_to_its_end(cluster: Cluster, monitor: Monitor, folder: Path) -> None:
    cluster.apply([pytorchjob("tiny", folder, complete_after="5s")], "--namespace", str(monitor.namespace))
    answer = monitor("watch", "tiny", "--interval", "0.5", "--timeout-s", "60", streams=True)
    assert (answer.code, answer.data["state"]) == (0, "finished")
    assert answer.stream[-1]["state"] == "finished"
