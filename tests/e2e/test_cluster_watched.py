"""The monitor and the doctor on a job that really trains on the cluster: what they print while it is well, and when a rank is stopped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calling import SKILLS, Answer, call
from tests.components.cluster.running import Cluster
from tests.e2e.cluster_job import rank_process
from tests.e2e.deployed_job import TINY, DeployedJob

SOURCE = SKILLS / "monitor" / "src"


class Watched:
    """A job of two nodes, looked at by its name."""

    def __init__(self, job: DeployedJob) -> None:
        self.job = job
        self.run_id = job.call("run", "--yes", "--detach")["data"]["run_id"]
        job.wait_for(lambda status: int(status["progress"].get("step") or 0) >= 30)

    def ask(self, program: str, verb: str, *words: object) -> Answer:
        where = ("tiny", "-n", self.job.namespace, *words)
        answer = call(SOURCE / f"{program}.py", verb, *where, env={"KUBECONFIG": str(self.job.kubeconfig)})
        assert "Traceback" not in answer.stderr, answer.stderr
        return answer

    def collect(self, folder: Path) -> Path:
        """With the stacks of both ranks, and the dump that rank 0 writes when it is asked."""
        answer = self.ask("diagnose_training", "collect", "--output", folder)
        assert answer.code == 0, answer.document
        names = {str(path.relative_to(folder)) for kind in ("stacks", "flight") for path in (folder / kind).iterdir()}
        assert {"stacks/rank-0000.txt", "stacks/rank-0001.txt", "flight/rank-0000.bin"} <= names, answer.document
        return folder

    @staticmethod
    def doctor(folder: Path) -> dict[str, Any]:
        root = call(SOURCE / "diagnose_training.py", "doctor", folder).data["root"]
        assert isinstance(root, dict)
        return root


@pytest.fixture
def watched(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[Watched]:
    cluster.make_volumes(namespace, 2)
    job = DeployedJob(cluster, namespace, tmp_path, {"run": f"torchrun training/train.py --steps 100000 {TINY}"})
    yield Watched(job)
    job.call("stop")


def test_a_run_is_well_until_a_rank_is_stopped(watched: Watched, tmp_path: Path) -> None:
    """Each verb on the real pods; nothing is claimed of a run that moves, whatever other events its node has."""
    status = watched.ask("monitor_training", "status").data
    assert (status["state"], status["total_steps"], status["job"]) == ("running", 100000, "PyTorchJob/tiny")
    health = watched.ask("monitor_training", "health")
    assert health.code == 0, health.document["checks"]
    assert watched.ask("monitor_training", "efa").check("efa.ranks")["status"] == "skipped"
    stacks = watched.ask("diagnose_training", "stacks")
    assert (stacks.code, stacks.data["ranks"]) == (0, 2) and all(group["stack"] for group in stacks.data["groups"])
    assert watched.ask("diagnose_training", "doctor").data["root"]["cause"] == "none"
    moving = watched.collect(tmp_path / "moving")
    root = watched.doctor(moving)
    assert root["cause"] == "none", root

    os.kill(rank_process(watched.run_id, 1), signal.SIGSTOP)
    time.sleep(13)  # longer than a pause is taken for a step
    stacks = watched.ask("diagnose_training", "stacks")
    assert stacks.code == 1 and stacks.data["doing"]["stopped"] == "1"
    root = watched.ask("diagnose_training", "doctor").data["root"]
    assert (root["cause"], root["rank"], root["node"], root["restart"]) == ("rank-stopped", 1, "real-0", "RESTART")
    folder = watched.collect(tmp_path / "evidence")
    assert {"tiny-master-0", "tiny-worker-0"} <= {path.name for path in (folder / "pods").iterdir()}
    root = watched.doctor(folder)
    assert (root["cause"], root["rank"], root["node"], root["restart"]) == ("rank-stopped", 1, "real-0", "RESTART")
    os.kill(rank_process(watched.run_id, 1), signal.SIGCONT)
