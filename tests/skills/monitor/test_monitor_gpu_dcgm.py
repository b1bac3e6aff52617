"""`gpu` and `efa` against a real Prometheus that scrapes DCGM's and the node's metrics."""

from __future__ import annotations

from monitor_call import PROGRAM, call, check, statuses

from tests import calling
from tests.components.prometheus import metrics
from tests.components.prometheus.running import Prometheus


def test_the_gpus_of_a_node(prometheus: Prometheus) -> None:
    """Hot and with an Xid on one node, healthy on the other; the same question without them passes."""
    hot = metrics.gpu_node("hyperpod-i-0aa", gpus=8, temperature=(91.0,), ecc=(0.0, 2.0), xid=(0.0, 0.0, 79.0))
    fine = metrics.gpu_node("hyperpod-i-0bb", gpus=8)
    prometheus.show(hot + fine)
    found = call("gpu", "all", "--prometheus", prometheus.url, code=1)
    assert found["data"]["total"] == 16 and found["data"]["source"] == "prometheus"
    told = statuses(found)
    assert (told["gpu.ecc"], told["gpu.xid"], told["gpu.data"]) == ("fail", "fail", "pass"), told
    assert "hyperpod-i-0aa/2 (Xid 79)" in check(found, "gpu.xid")["evidence"]


def test_no_series_is_unknown(prometheus: Prometheus) -> None:
    """Nor is an answer that is a part of the whole, or a server that is not there."""
    prometheus.show([("up", {}, 1.0)])
    assert check(call("gpu", "all", "--prometheus", prometheus.url, "--expect", "8", code=1), "gpu.data")["status"] == "unknown"
    prometheus.goes_wrong("partial")
    assert calling.call(PROGRAM, "gpu", "all", "--prometheus", prometheus.url).code == 8
    assert calling.call(PROGRAM, "gpu", "all", "--prometheus", "http://127.0.0.1:9").code == 8
    assert calling.call(PROGRAM, "gpu", "all", "--prometheus", "ftp://x").code == 2
