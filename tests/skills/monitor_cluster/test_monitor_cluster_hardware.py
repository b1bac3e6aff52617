"""`efa`, `gpu` and `ranks` of a run on a cluster: from the logs of its pods, from DCGM, else unknown with the reason."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from a_run import JOBS, job, pod
from api_of_a_run import Api, Object, listed, log_of, serving, write_kubeconfig
from monitor_calls import Monitor

from tests import nccl_lines as nccl
from tests.components.prometheus import metrics
from tests.components.prometheus.running import Prometheus

PODS = ("tiny-master-0", "tiny-worker-0")


@pytest.fixture
def two_nodes(api: Api) -> Api:
    """A job of two pods with eight GPUs each, that runs."""
    began = time.time() - 600
    api.objects[f"{JOBS}/tiny"] = job(began=began)
    api.pods = [with_gpus(pod(rank, began=began)) for rank in range(2)]
    return api


def with_gpus(thing: Object, count: int = 8) -> Object:
    thing["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": str(count)}} if count else {}
    return thing


def print_logs(api: Api, text: str) -> None:
    """Lines of `ip-10-0-0-0` from the master, of `ip-10-0-0-1` from the worker."""
    for node, name in enumerate(PODS):
        own = [line for line in text.splitlines() if f"ip-10-0-0-{node}" in line]
        api.logs[name, False] = log_of([(time.time() - 500, line) for line in own])


def test_efa_is_proven_by_the_logs_of_all_pods(two_nodes: Api, played: Monitor) -> None:
    """One pod on TCP is a no; one whose log is gone leaves its ranks without proof; a job without GPUs is not asked."""
    print_logs(two_nodes, nccl.job(16))
    assert played("efa", "tiny").check("efa.ranks")["summary"] == "all 16 ranks use EFA"
    print_logs(two_nodes, nccl.job(16, rank9=nccl.socket(9, 16)))
    mixed = played("efa", "tiny")
    assert mixed.code == 1 and "rank 9 TCP" in mixed.check("efa.ranks")["summary"]
    assert mixed.check("efa.ranks")["evidence"].startswith("tiny-worker-0:")
    print_logs(two_nodes, nccl.job(16))
    del two_nodes.logs["tiny-worker-0", False]
    gone = played("efa", "tiny")
    assert gone.check("efa.ranks")["status"] == "unknown" and "ranks 8-15" in gone.check("efa.ranks")["summary"]
    assert "tiny-worker-0" in gone.check("efa.logs")["evidence"]
    print_logs(two_nodes, "")
    two_nodes.pods = [with_gpus(each, 0) for each in two_nodes.pods]
    assert played("efa", "tiny").check("efa.ranks")["status"] == "skipped"


def test_gpus_are_those_of_its_pods(two_nodes: Api, played: Monitor, prometheus: Prometheus) -> None:
    """Of a Prometheus that knows other jobs too; too few are unknown; without any source it says what was tried."""

    def of(name: str, gpus: int, **wrong: tuple[float, ...]) -> list[metrics.Sample]:
        own = {"pod": name, "namespace": "ml"}
        return [
            (metric, {**labels, **own}, value) for metric, labels, value in metrics.gpu_node(f"n-{name}", gpus=gpus, **wrong)
        ]  # type: ignore[arg-type]

    where = ("--prometheus", prometheus.url)
    prometheus.show([*of(PODS[0], 8), *of(PODS[1], 8), *of("other", 8, ecc=(5.0,))])
    done = played("gpu", "tiny", *where)
    assert done.data["total"] == 16 and done.check("gpu.ecc")["status"] == "pass", done
    assert done.check("gpu.data")["summary"] == "16 GPUs seen of 16"
    prometheus.show([*of(PODS[0], 8), *of(PODS[1], 7, ecc=(0.0, 1.0))])
    few = played("gpu", "tiny", *where)
    assert few.check("gpu.data")["status"] == "unknown" and "holds 16 GPUs, and 15" in few.check("gpu.data")["summary"]
    assert "tiny-worker-0/1" in few.check("gpu.ecc")["evidence"]
    nothing = played("gpu", "tiny", "--watch-s", "0")
    told = nothing.check("gpu.data")
    assert nothing.code == 1 and told["status"] == "unknown" and "pods/exec" in told["evidence"], told


@dataclass
class WithPrometheus(Api):
    """Its services are those of kube-prometheus, and its proxy leads to a real Prometheus."""

    prometheus: str = ""

    def answer(self, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path == "/api/v1/services":
            wanted = query["fieldSelector"][0].partition("=")[2]
            service = {
                "metadata": {"namespace": "monitoring", "name": "prometheus-k8s"},
                "spec": {"ports": [{"name": "web", "port": 9090}]},
            }
            return 200, listed([service] if wanted == "prometheus-k8s" else [])
        _, proxy, behind = path.partition("/services/prometheus-k8s:9090/proxy")
        if not proxy:
            return super().answer(path, query)
        with urllib.request.urlopen(f"{self.prometheus}{behind}?{urlencode(query, doseq=True)}", timeout=20) as answer:
            return 200, json.load(answer)


@pytest.fixture
def watched(two_nodes: Api, prometheus: Prometheus) -> Iterator[WithPrometheus]:
    with serving(WithPrometheus(pods=two_nodes.pods, objects=two_nodes.objects, prometheus=prometheus.url)) as made:
        yield made


def test_a_prometheus_in_the_cluster_is_found(watched: WithPrometheus, prometheus: Prometheus, tmp_path: Path) -> None:
    """Asked through the API server's proxy; one that knows only other pods is no source."""
    monitor = Monitor(write_kubeconfig(tmp_path / "kubeconfig", watched), None, tmp_path)
    own = [{"pod": name, "namespace": "ml"} for name in PODS]
    prometheus.show(
        [(name, {**labels, **each}, value) for each in own for name, labels, value in metrics.gpu_node(each["pod"])]
    )
    found = monitor("gpu", "tiny")
    assert (found.data["source"], found.data["total"]) == ("prometheus monitoring/prometheus-k8s", 16), found
    prometheus.show(metrics.gpu_node("other"))
    none = monitor("gpu", "tiny", "--watch-s", "0")
    assert none.code == 1 and "monitoring/prometheus-k8s has no DCGM series of these pods" in none.check("gpu.data")["fix"], (
        none
    )


def test_slow_ranks_are_unknown_without_the_volume(two_nodes: Api, played: Monitor) -> None:
    answer = played("ranks", "tiny")
    assert answer.code == 1 and answer.check("ranks.slow")["status"] == "unknown"
