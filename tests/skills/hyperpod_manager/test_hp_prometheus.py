"""`query-metrics` against a real Prometheus, behind a proxy that wants AMP's signature."""

from __future__ import annotations

import pytest
from hp_call import Manager

from tests.components.prometheus import metrics
from tests.components.prometheus.running import Prometheus


@pytest.fixture
def signed(prometheus: Prometheus) -> tuple[Manager, str]:
    """The program with AMP at the proxy, and the workspace's id."""
    base, _, id = prometheus.workspace_url.partition("/workspaces/")
    key, secret = next(iter(prometheus.front.secrets.items()))
    return Manager({"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_ENDPOINT_URL_AMP": base}), id.partition(
        "/"
    )[0]


def test_a_workspace_answers(prometheus: Prometheus, signed: tuple[Manager, str]) -> None:
    """Only with the signature of its region; without one the same server refuses."""
    manage, id = signed
    prometheus.show(metrics.gpu_node("hyperpod-i-0aaaaaaaaaaaaaaaa", gpus=2, temperature=(91.0, 60.0)))
    where = ("--workspace", id, "--region", prometheus.front.region)
    done = manage("query-metrics", "gpu-temperature", *where)
    assert done.code == 0 and sorted(each["value"][1] for each in done.data["series"]) == [60.0, 91.0], done
    other = manage(
        "query-metrics",
        "up",
        "--workspace",
        id,
        "--region",
        "eu-central-1" if prometheus.front.region != "eu-central-1" else "us-west-2",
    )
    assert other.code == 4, other
    plain = manage("query-metrics", "up", "--url", prometheus.workspace_url)
    assert plain.code == 4, plain


def test_a_prometheus_of_ones_own(prometheus: Prometheus, signed: tuple[Manager, str]) -> None:
    manage, _ = signed
    prometheus.show(metrics.gpu_node("hyperpod-i-0aaaaaaaaaaaaaaaa", gpus=1, efa=0))
    where = ("--url", prometheus.url)
    assert manage("query-metrics", "gpu-utilization", *where).code == 0
    off = manage("query-metrics", "efa", *where)
    assert off.code == 1 and "off by default" in off.check("metrics.data")["fix"]
    bad = manage("query-metrics", "sum(", *where)
    assert (bad.code, bad.error["code"]) == (2, "usage") and "parse error" in bad.error["message"], bad
    nan = manage("query-metrics", "0/0", *where)
    assert nan.code == 0 and nan.data["series"][0]["value"][1] == "NaN"
    prometheus.goes_wrong("partial")
    assert manage("query-metrics", "up", *where).code == 1
    prometheus.goes_wrong("cut")
    assert manage("query-metrics", "up", *where).code == 8
