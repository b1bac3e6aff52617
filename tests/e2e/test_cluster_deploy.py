"""One job file on the test cluster by deploy.py alone: really trained, stopped, resumed; and 128 nodes planned, deployed, scaled, stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_job import ClusterJob
from deployed_job import ROOT, TINY, DeployedJob

from tests.components.cluster.nodes import fake_nodes
from tests.components.cluster.running import RAY_IMAGE, Cluster
from tests.components.hyperpod import launcher
from tests.training.forking import FULL_STARTS

MANAGER = ROOT / "skills" / "pytorchjob-manager" / "src" / "manage_pytorchjob.py"
ROLES = ROOT / "infrastructure" / "kubernetes" / "base" / "roles"
NODES, FIRST = 128, 7000


def step_of(status: dict[str, object]) -> int:
    progress = status["progress"]
    assert isinstance(progress, dict)
    return int(progress.get("step") or 0)


def test_a_job_trains_is_stopped_and_resumes_from_its_checkpoint(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    cluster.make_volumes(namespace, 2)
    job = DeployedJob(cluster, namespace, tmp_path, {"run": f"torchrun training/train.py --steps 3000 {TINY}"})
    plan = job.call("run", exit_code=6)["data"]
    assert (plan["nodes"], plan["cluster"]["namespace"]) == (["real-0", "real-0"], namespace)
    assert job.left("pytorchjobs", "pods", "persistentvolumeclaims") == []

    run_id = job.call("run", "--yes", "--detach")["data"]["run_id"]
    assert job.call("run", "--yes", "--detach")["changed"] == []
    running = job.wait_for(lambda status: step_of(status) >= 30)
    assert (running["state"], running["nodes"]["running"]) == ("running", 2)
    assert any(line.startswith("[0] trainyard step=") for line in job.call("logs", "--rank", "0")["data"]["lines"])

    # somebody switches the current context: the run's own is still used
    cluster.kubectl("config", "set-cluster", "elsewhere", "--server=https://127.0.0.1:1", user=job.kubeconfig)
    cluster.kubectl("config", "set-credentials", "elsewhere", "--token=none", user=job.kubeconfig)
    cluster.kubectl("config", "set-context", "elsewhere", "--cluster=elsewhere", "--user=elsewhere", user=job.kubeconfig)
    cluster.kubectl("config", "use-context", "elsewhere", user=job.kubeconfig)
    stopped = job.call("stop")
    claim = f"tiny-{run_id[:8]}"
    assert (stopped["data"]["state"], stopped["data"]["claim"]) == ("stopped", claim)
    assert job.left("pytorchjobs", "pods", "services") == []
    assert job.left("persistentvolumeclaims") == [claim]
    assert job.call("run", "--yes", exit_code=1)["data"]["state"] == "stopped"

    ended = job.call("resume", "--timeout", "300")
    assert (ended["data"]["state"], ended["data"]["run_id"], ended["data"]["step"]) == ("finished", run_id, 3000)
    first, again = job.events("restored")
    assert (first["step"], again["step"] >= 30) == (0, True)
    assert Path(ended["data"]["report"]).is_file()
    assert job.call("run")["changed"] == []
    assert job.left("persistentvolumeclaims") == [claim]
    cluster.kubectl("delete", "pods", "--all", "--namespace", namespace)
    assert job.call("run")["data"]["step"] == 3000, "without the pods' logs the run's own files tell"
    assert step_of(job.status()) == 3000

    # more steps, on one node: the same run goes on, resharded
    job.change(run=f"torchrun training/train.py --steps 3040 {TINY}", nodes=1)
    job.call("resume", exit_code=5)
    longer = job.call("resume", "--accept-changes", "--yes", "--timeout", "300")["data"]
    assert (longer["state"], longer["run_id"], longer["step"]) == ("finished", run_id, 3040)
    assert [event["step"] for event in job.events("restored")][2:] == [3000]


@pytest.fixture
def many_nodes(cluster: Cluster, namespace: str) -> Iterator[str]:
    """128 pretended nodes of one zone with a label of their own; the label's value."""
    nodes = fake_nodes("ml.p5.48xlarge", NODES, first=FIRST, zones=("us-west-2a",))
    for node in nodes:
        node["metadata"]["labels"]["deployed-by"] = namespace
        node["spec"]["taints"].append({"key": "deployed-by", "value": namespace, "effect": "NoSchedule"})  # nobody else's pods
    cluster.apply(nodes)
    yield namespace
    cluster.kubectl("delete", "nodes", f"--selector=deployed-by={namespace}", "--wait=false")


def test_a_job_of_128_nodes_is_planned_deployed_scaled_and_stopped(
    cluster: Cluster, namespace: str, many_nodes: str, tmp_path: Path
) -> None:
    cluster.make_volumes(namespace, 2)
    selector = {"type": "kwok", "deployed-by": many_nodes}
    place = {"namespace": namespace, "node_selector": selector, "tolerations": [{"operator": "Exists"}]}
    keys = {
        "name": "wide",
        "run": "torchrun training/train.py",
        "nodes": NODES,
        "procs_per_node": "auto",
        "cluster": place,
        "resources": {"instance_type": "ml.p5.48xlarge"},
        "budget": {"max_usd": 100_000},
    }
    job = DeployedJob(cluster, namespace, tmp_path, keys)
    plan = job.call("plan")["data"]
    assert (plan["node_count"], plan["procs_per_node"], plan["pod"]["efa"]) == (NODES, 8, 32)
    assert plan["usd_per_hour"] > NODES and plan["budget"]["hours"] > 0

    run_id = job.call("run", "--yes", "--detach")["data"]["run_id"]
    status = job.wait_for(lambda status: status["state"] == "running" and status["nodes"]["running"] == NODES)
    assert status["nodes"]["wanted"] == NODES
    words = ["scale", "wide", "--nodes", "96", "--run-id", run_id, "--namespace", namespace]
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    done = subprocess.run(
        [sys.executable, str(MANAGER), *words], env=environment, capture_output=True, text=True, timeout=300, check=True
    )
    assert json.loads(done.stdout)["changed"]
    job.wait_for(lambda status: status["nodes"].get("wanted") == 96 == status["nodes"]["running"])
    assert job.call("run", "--yes", "--detach")["changed"] == []

    assert job.call("stop")["data"]["state"] == "stopped"
    assert job.left("pytorchjobs", "pods") == []
    assert job.left("persistentvolumeclaims") == [f"wide-{run_id[:8]}"]


def test_a_team_without_the_cluster_role_runs_jobs_and_is_told_what_nobody_could_check(
    cluster: Cluster, namespace: str, tmp_path: Path
) -> None:
    cluster.make_volumes(namespace, 2)
    roles = [yaml.safe_load(path.read_text()) for path in sorted(ROLES.glob("*.yaml"))]
    place = {"namespace": namespace, "node_selector": {"type": "kwok"}, "tolerations": [{"key": "kwok", "operator": "Exists"}]}
    job = DeployedJob(cluster, namespace, tmp_path, {"name": "team", "run": "torchrun train.py", "cluster": place})
    user = cluster.user("team", namespace, rules=[rule for role in roles for rule in role["rules"]])
    job.kubeconfig.write_text(user.read_text())
    checks = {check["id"]: check for check in job.call("plan", exit_code=1)["checks"]}
    assert (checks["fit.nodes"]["status"], '"nodes"' in checks["fit.nodes"]["fix"]) == ("unknown", True)
    assert [id for id, check in checks.items() if check["status"] == "fail"] == []
    job.call("run", "--yes", "--detach")
    job.wait_for(lambda status: status["state"] == "running")
    assert job.call("stop")["data"]["state"] == "stopped"
    assert job.left("pytorchjobs", "pods") == []


RAY = {"image": {"uri": RAY_IMAGE}, "resources": {"cpu": "200m", "memory": "3Gi"}}
ENGINES: dict[str, dict[str, Any]] = {
    "trainjob": {"engine": "trainjob"},
    "hyperpodjob": {"engine": "hyperpodjob", "target": "hyperpod", "resources": {"cpu": "100m", "memory": "3Gi"}},
    "rayjob": {"engine": "rayjob", **RAY},
    "raycluster": {"engine": "raycluster", **RAY},
}


IN_SOAK = () if FULL_STARTS else ("raycluster",)
"""A RayJob makes a RayCluster too, and one alone is stopped below."""


@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine not in IN_SOAK])
def test_the_same_job_file_runs_on_every_other_engine(
    cluster: Cluster, hyperpod: None, namespace: str, tmp_path: Path, engine: str
) -> None:
    """A HyperPodPyTorchJob's pods run AWS's own launcher."""
    if engine == "hyperpodjob":
        launcher.need()
    cluster.make_volumes(namespace, 2)
    keys = {"name": "other", "run": f"torchrun training/train.py --steps 30 {TINY}", **ENGINES[engine]}
    job = DeployedJob(cluster, namespace, tmp_path, keys)
    ended = job.call("run", "--yes", "--timeout", "300")["data"]
    assert (ended["state"], ended["step"]) == ("finished", 30)
    assert Path(ended["report"]).is_file()
    assert job.events("closed")[-1]["finished"]
    assert job.call("stop")["data"]["state"] == "finished"
    assert job.left("pods", "services") == []
    assert job.left("persistentvolumeclaims") == [ended["claim"]]


def test_a_job_on_ray_that_is_stopped_saves_its_last_step_first(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    """On a RayCluster: KubeRay asks only for the end of a RayJob's."""
    cluster.make_volumes(namespace, 1)
    storage = {"class": "test-shared", "size": "1Gi"}
    keys = {
        "run": "torchrun tests/e2e/slow_loop.py 100000 0.05",
        **ENGINES["raycluster"],
        "checkpoints": {"storage": storage, "rolling_steps": 100_000},
    }
    deployed = DeployedJob(cluster, namespace, tmp_path, keys)
    run_id = deployed.call("run", "--yes", "--detach")["data"]["run_id"]
    job = ClusterJob(cluster, namespace, "tiny", run_id, f"tiny-{run_id[:8]}")
    job.wait_for_step(30)
    begun = time.monotonic()
    assert deployed.call("stop")["data"]["state"] == "stopped"
    print(f"stopped after {time.monotonic() - begun:.1f} s")
    assert job.events("committed")[-1]["step"] == job.steps()[-1]["step"] >= 30
    assert deployed.left("pods", "services") == []
