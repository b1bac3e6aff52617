"""`watch --restart` on a job of two real pods: what a restart repairs is repaired, what it cannot repair is stopped with the reason."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster_job import ClusterJob, rank_process
from deployed_job import DeployedJob

from tests.components.cluster.running import IMAGE, TRAINER_IMAGE, Cluster
from tests.training.forking import FULL_STARTS

STEPS, ROLLING = 60, 10
FULL = pytest.mark.skipif(not FULL_STARTS, reason="by design: make soak runs it (FULL_STARTS=1)")


@dataclass
class Healed:
    job: DeployedJob
    steps: int = STEPS

    def begin(self, fault: str, step_s: float = 0.05, **monitor: Any) -> ClusterJob:
        """Submitted; the launcher in the pods restarts nothing."""
        run = f"torchrun tests/e2e/faulty_loop.py {self.steps} {step_s} {fault}"
        self.job.change(run=run, monitor={"max_restarts": 0, "stop_grace_s": 5, **monitor})
        run_id = self.job.call("run", "--yes", "--detach")["data"]["run_id"]
        return ClusterJob(self.job.cluster, self.job.namespace, "tiny", run_id, f"tiny-{run_id[:8]}")

    def watch(self, exit_code: int, *words: str) -> dict[str, Any]:
        document = self.job.call("watch", "--restart", "--backoff-s", "0", "--timeout", "280", *words, exit_code=exit_code)
        document["by_id"] = {check["id"]: check for check in document["checks"]}
        return document


@pytest.fixture
def healed(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Healed]:
    cluster.make_volumes(namespace, 1)
    checkpoints = {"storage": {"class": "test-shared", "size": "1Gi"}, "rolling_steps": ROLLING}
    job = DeployedJob(cluster, namespace, tmp_path, {"checkpoints": checkpoints})
    yield Healed(job)
    job.call("stop")


@pytest.fixture
def kubelet(cluster: Cluster) -> Iterator[int]:
    """Its pid. Stopped by a test, it goes on at the end."""
    pid = int((cluster.place.state / "pid" / "kubelet").read_text().split()[0])
    yield pid
    os.kill(pid, signal.SIGCONT)
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--selector=type=real", "--timeout=120s")


def lost(job: ClusterJob) -> int:
    """The most steps that any start made again."""
    starts: dict[int, list[int]] = {}
    for line in job.steps():
        starts.setdefault(line["incarnation"], []).append(line["step"])
    numbers = sorted(starts)
    return max(max(starts[one]) - min(starts[after]) + 1 for one, after in itertools.pairwise(numbers))


def restarts(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["cause"], each["kind"]) for each in document["data"]["restarted"]]


def test_a_batch_that_fails_every_time_is_given_up_with_its_line(healed: Healed) -> None:
    job = healed.begin("batch 25")
    answer = healed.watch(1)
    assert restarts(answer) == [("script-error", "RESTART")]
    assert "2 attempts failed after step 24 in the same way" in answer["by_id"]["restart"]["summary"]
    assert any("sample 4711 cannot be decoded" in line["text"] for line in answer["data"]["why"]["evidence"])
    assert max(line["step"] for line in job.steps()) == 24 and lost(job) <= ROLLING


@FULL
def test_memory_that_ran_out_once(healed: Healed) -> None:
    job = healed.begin("memory 25 once")
    answer = healed.watch(0)
    assert (answer["data"]["state"], answer["data"]["step"]) == ("finished", STEPS)
    assert restarts(answer) == [("host-oom", "RESTART")] and lost(job) <= ROLLING


@FULL
@pytest.mark.parametrize("fault", ["nan 25 once", "nan 25"])
def test_a_loss_that_is_not_a_number(healed: Healed, fault: str) -> None:
    """No checkpoint holds it, so a start from the newest is past it, once."""
    job = healed.begin(fault)
    answer = healed.watch(0 if "once" in fault else 1)
    assert answer["data"]["state"] == ("finished" if "once" in fault else "failed")
    assert restarts(answer) == [("nan-loss", "RESTART")] and lost(job) <= ROLLING


@FULL
@pytest.mark.parametrize("hang", ["restart", "report"])
def test_a_rank_that_is_stopped(healed: Healed, hang: str) -> None:
    """Its launcher restarts the job; where it only reports, `watch --restart --yes` does."""
    healed.steps = 200
    job = healed.begin("none 0", hang=hang, hang_after_s=15, max_restarts=3 if hang == "restart" else 0)
    job.wait_for_step(25)
    os.kill(rank_process(job.run_id, 1), signal.SIGSTOP)
    answer = healed.watch(0, "--yes")
    assert (answer["data"]["state"], answer["data"]["step"]) == ("finished", 200)
    assert restarts(answer) == ([] if hang == "restart" else [("rank-stopped", "RESTART")])
    assert lost(job) <= ROLLING


@FULL
def test_a_wrong_image_after_a_change(healed: Healed) -> None:
    """Nothing of the job is in it, and it is not tried again; with the right one it goes on from its checkpoint."""
    job = healed.begin("batch 25")
    healed.job.call("watch", exit_code=1)
    healed.job.change(image={"uri": IMAGE})
    healed.job.call("resume", "--accept-changes", "--yes", "--detach")
    answer = healed.watch(1)
    assert restarts(answer) == [] and "module-missing" in answer["by_id"]["restart"]["summary"]
    healed.job.call("stop")
    run = f"torchrun tests/e2e/faulty_loop.py {STEPS} 0.05 none 0"
    healed.job.change(image={"uri": TRAINER_IMAGE}, run=run)
    answer = healed.job.call("resume", "--accept-changes", "--yes")
    assert (answer["data"]["state"], answer["data"]["step"]) == ("finished", STEPS) and lost(job) <= ROLLING


@FULL
def test_a_node_that_does_not_answer(healed: Healed, kubelet: int) -> None:
    """Its pods die meanwhile; the job goes on once a node is there."""
    healed.steps = 400
    job = healed.begin("none 0", step_s=0.1)
    job.wait_for_step(25)
    os.kill(kubelet, signal.SIGSTOP)
    for rank in (0, 1):
        os.kill(rank_process(job.run_id, rank), signal.SIGKILL)
    back = threading.Timer(90, os.kill, (kubelet, signal.SIGCONT))
    back.start()
    answer = healed.watch(0, "--yes")
    assert (answer["data"]["state"], answer["data"]["step"]) == ("finished", 400)
    assert lost(job) <= ROLLING
