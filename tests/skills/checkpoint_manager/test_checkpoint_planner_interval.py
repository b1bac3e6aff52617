"""`plan`: its intervals against the published ones, a numerical minimum of the complete model, and a simulation."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from made_checkpoints import call
from planner_calls import plan, row, told

HOUR_S = 3600.0


def job(cost_s: float, mtbf_s: float, *, write_s: float = 1e-6, restart_s: float = 600.0, **more: float) -> dict[str, Any]:
    """The plan of one node that fails every `mtbf_s`, held `cost_s` by a snapshot that is durable `write_s` later."""
    words = {"blocked-seconds": cost_s, "mtbf-hours-per-node": mtbf_s / HOUR_S, "restart-seconds": restart_s, **more}
    words["write-bandwidth"] = 4e6 / write_s  # a million parameters with SGD
    return plan("--params", "1M", "--optimizer", "sgd", *(f"--{name}={value!r}" for name, value in words.items()))


def time_per_work(interval_s: float, cost_s: float, mtbf_s: float, recovery_s: float) -> float:
    """Seconds that a second of work takes, Daly's complete model: M exp(R/M) (exp((tau + delta)/M) - 1) / tau."""
    return mtbf_s * math.exp(recovery_s / mtbf_s) * math.expm1((interval_s + cost_s) / mtbf_s) / interval_s


def lowest(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is least: golden section on a logarithmic scale."""
    golden = (math.sqrt(5) - 1) / 2
    a, b = math.log(low), math.log(high)
    for _ in range(200):
        left, right = b - golden * (b - a), a + golden * (b - a)
        a, b = (a, right) if function(math.exp(left)) < function(math.exp(right)) else (left, b)
    return math.exp((a + b) / 2)


@pytest.mark.parametrize(("mtbf_min", "published_min"), [(24 * 60, 117), (6 * 60, 57), (15, 9.1)])
def test_dalys_interval_is_the_one_of_his_figures(mtbf_min: float, published_min: float) -> None:
    """Figures 3 to 5 of the paper: dumps of 5 minutes, restarts of 10."""
    data = job(5 * 60, mtbf_min * 60, restart_s=10 * 60)
    assert row(data, "daly")["seconds"] / 60 == pytest.approx(published_min, rel=0.006)


def test_dalys_interval_by_hand() -> None:
    """40 h x (1 + 0.5/3 + 0.25/9) - 20 h, for checkpoints of 20 h and a failure in 40 h."""
    assert row(job(20 * HOUR_S, 40 * HOUR_S), "daly")["seconds"] == 100_000


@pytest.mark.parametrize("ratio", [1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3, 0.5])
def test_dalys_interval_is_where_the_complete_model_is_least(ratio: float) -> None:
    mtbf_s = 40 * HOUR_S
    cost_s = ratio * mtbf_s
    data = job(cost_s, mtbf_s)
    daly_s, young_s = row(data, "daly")["seconds"], row(data, "young")["seconds"]
    least_s = lowest(lambda interval: time_per_work(interval, cost_s, mtbf_s, 600.0), mtbf_s * 1e-6, mtbf_s * 10)
    assert daly_s == pytest.approx(least_s, rel=0.01)
    assert young_s == pytest.approx(math.sqrt(2 * cost_s * mtbf_s), rel=1e-3)
    best, at_daly = (time_per_work(interval, cost_s, mtbf_s, 600.0) for interval in (least_s, daly_s))
    assert at_daly == pytest.approx(best, rel=1e-4)
    assert row(data, "daly")["lost_percent"] == pytest.approx(100 * (1 - 1 / at_daly), rel=2e-3)


def test_young_is_off_where_a_checkpoint_costs_much() -> None:
    """The negative control of the test above."""
    data = job(0.3 * HOUR_S, HOUR_S)
    assert row(data, "young")["seconds"] > 1.2 * row(data, "daly")["seconds"]


def test_with_checkpoints_longer_than_two_failures_daly_takes_the_mean_time_between_failures() -> None:
    data = job(3 * HOUR_S, HOUR_S)
    assert row(data, "daly")["seconds"] == pytest.approx(HOUR_S)


def simulated_loss(
    interval_s: float, cost_s: float, write_s: float, mtbf_s: float, recovery_s: float, *, failures: int, seed: int
) -> float:
    """The fraction of time that is no progress in a job with random failures and snapshots that become durable later."""
    source = random.Random(seed)
    clock = durable = progress = 0.0
    for _ in range(failures):
        fails_at = clock + source.expovariate(1 / mtbf_s)
        clock += recovery_s
        progress, pending = durable, None
        while clock < fails_at:
            if pending and pending[0] <= clock:
                durable, pending = pending[1], None
            clock += interval_s + cost_s
            progress += interval_s
            if clock < fails_at:
                if pending and pending[0] <= clock:
                    durable = pending[1]
                pending = (clock + write_s, progress)
        if pending and pending[0] <= fails_at:
            durable = pending[1]
        clock = fails_at
    return 1 - durable / clock


@pytest.mark.parametrize("write_s", [1.0, 400.0])
def test_the_lost_time_is_that_of_a_simulated_job_whose_snapshots_become_durable_later(write_s: float) -> None:
    cost_s, mtbf_s, restart_s, interval_s = 5.0, 6000.0, 120.0, 500.0
    data = job(cost_s, mtbf_s, write_s=write_s, restart_s=restart_s, **{"step-seconds": 5.0, "rolling-steps": 100})
    lost = simulated_loss(interval_s, cost_s, write_s, mtbf_s, restart_s, failures=40_000, seed=7) * 100
    assert row(data, "yours")["lost_percent"] == pytest.approx(lost, abs=0.35)
    if write_s > cost_s:  # the control: as if a snapshot were durable at once
        at_once = simulated_loss(interval_s, cost_s, 0.0, mtbf_s, restart_s, failures=40_000, seed=7) * 100
        assert lost - at_once > 4


def test_the_advice_is_not_below_the_time_of_a_write() -> None:
    data = plan("--params", "7e9", "--nodes", "1", "--write-bandwidth", "5MB/s", "--step-seconds", "2")
    assert data["write_s"] == 84e9 / 5e6
    assert row(data, "advised")["seconds"] == data["write_s"] > row(data, "daly")["seconds"]
    assert data["rolling_steps_advised"] == 8400
    answer = call("plan", "--params", "7e9", "--write-bandwidth", "5MB/s", "--step-seconds", "2")
    assert "as fast as the disk allows" in answer.checks("warn")["plan.disk"]
    assert row(answer.data, "yours")["seconds"] == data["write_s"]


def test_without_a_bandwidth_nothing_is_said_about_lost_time() -> None:
    data = plan("--params", "7e9")
    assert data["write_s"] is None and all(row["lost_percent"] is None for row in data["intervals"])
    assert row(data, "daly")["seconds"] > 0
    assert "no write bandwidth given" in told(data)


def test_the_default_failure_rate_is_the_published_one_and_marked_as_an_assumption() -> None:
    hours_per_gpu = 16_384 * 54 * 24 / 419
    data = plan("--params", "7e9", "--nodes", "2048")
    assert data["job_mtbf_hours"] == pytest.approx(54 * 24 / 419, rel=1e-3)  # the job it was taken from: 3.1 hours
    assert plan("--params", "7e9", "--gpus-per-node", "1")["job_mtbf_hours"] == pytest.approx(hours_per_gpu, rel=1e-3)
    assert "arXiv 2407.21783" in told(data)
    own = plan("--params", "7e9", "--nodes", "4", "--mtbf-hours-per-node", "1000")
    assert own["job_mtbf_hours"] == 250 and "2407.21783" not in told(own)


def test_dollars_by_hand() -> None:
    words = ["--params", "7e9", "--nodes", "4", "--write-bandwidth", "2GB/s", "--step-seconds", "3.6"]
    data = plan(*words, "--usd-per-node-hour", "25")
    assert data["usd"]["step"] == pytest.approx(0.1)  # 100 dollars an hour, a thousand steps an hour
    assert data["usd"]["day"] == 2400
    assert data["usd"]["lost_a_day_yours"] == pytest.approx(24 * row(data, "yours")["lost_percent"], rel=1e-3)
    assert plan(*words)["usd"] is None


def test_a_job_that_never_gets_anywhere_loses_everything() -> None:
    data = job(1.0, 1e-3, write_s=10.0)
    assert row(data, "young")["lost_percent"] == 100
