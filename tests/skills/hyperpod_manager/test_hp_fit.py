"""cluster-manager reads the same table: a job for HyperPod gets no faulty node. The same on a real API server: test_fit_answers.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from hp_kube import Kube, node, pod
from test_hp_health import PENDING, accelerated

from tests.calling import SKILLS, Answer, call

PROGRAM = SKILLS / "cluster-manager" / "src" / "manage_cluster.py"
IDS = [f"i-0{digit * 16}" for digit in "abcd"]


def cluster_manager(kubernetes: Kube, *words: object) -> Answer:
    return call(PROGRAM, *words, env={"KUBECONFIG": str(kubernetes.kubeconfig)})


def test_fit_takes_no_faulty_node(kubernetes: Kube, tmp_path: Path) -> None:
    """Held back, broken, of which nothing is known, healthy: only the last two count, and the third is named."""
    held, broken, unwatched, fine = IDS
    kubernetes.nodes = [
        node(held, labels=PENDING),
        node(broken, conditions=accelerated("NvidiaXID79Error")),
        node(unwatched, conditions=[]),
        node(fine),
    ]

    def fit(nodes: int, target: str = "hyperpod") -> Answer:
        job: dict[str, Any] = {"name": "a-job", "run": "torchrun train.py", "target": target, "nodes": nodes}
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump({**job, "resources": {"instance_type": "ml.p5.48xlarge"}}))
        return cluster_manager(kubernetes, "fit", path)

    two = fit(2)
    assert (two.code, sorted(two.data.get("nodes", []))) == (0, [f"hyperpod-{unwatched}", f"hyperpod-{fine}"]), two
    told = two.check("fit.health")
    assert (
        told["status"] == "warn"
        and "fallen off the bus" in told["evidence"]
        and f"unknown: hyperpod-{unwatched}" in told["evidence"]
    )
    three = fit(3)
    assert (three.code, three.data["fits"]) == (1, False)
    assert any(held in line for line in three.data["missing"]) and any(broken in line for line in three.data["missing"])
    kubernetes.pods = [pod(f"hyperpod-{unwatched}", "health-monitoring-agent-x", namespace="aws-hyperpod")]
    assert "unknown:" not in fit(2).check("fit.health")["evidence"], "HyperPod's agent looks after it"
    eks = fit(4, "eks")
    assert eks.data["fits"] is True and not any(check["id"] == "fit.health" for check in eks.document["checks"]), "control"


def test_health_reads_the_same_table(kubernetes: Kube) -> None:
    one, two = IDS[:2]
    kubernetes.nodes = [
        node(one, labels=PENDING | {"fault-reasons": "XID_79"}),
        node(two, conditions=accelerated("NvidiaXID79Error")),
    ]
    done = cluster_manager(kubernetes, "health")
    assert "node-health-status: UnschedulablePendingReplacement" in done.check("nodes.hyperpod")["evidence"], done
    assert "AcceleratedHardwareReady is False (NvidiaXID79Error)" in done.check("nodes.conditions")["evidence"]
    kubernetes.nodes = [node(one), node(two)]
    fine = cluster_manager(kubernetes, "health")
    assert (fine.check("nodes.hyperpod")["status"], fine.check("nodes.conditions")["status"]) == ("pass", "pass"), "control"
