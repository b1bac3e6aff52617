"""Pods of another user than root on a new volume, which root owns: they write where Kubernetes gives the volume to their group; elsewhere
the job ends at once and says whose the volume is. Every job is of two real pods."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ptjob_call import REAL, RUN, Manager

from tests.components.cluster.running import TRAINER_IMAGE, Cluster

USER = ("--run-as-user", "1000")
TRAIN = ("--", "torchrun", "tests/e2e/slow_loop.py", "3", "0")


def create(manager: Manager, name: str, claim: str) -> Any:
    words = (*REAL, *USER, "--nodes", "2", "--memory", "1Gi", "--claim", claim, "--env", "OMP_NUM_THREADS=1")
    made = manager.create(name, "--image", TRAINER_IMAGE, *words, command=TRAIN)
    assert made.code == 0, made
    return manager("wait", name, "--timeout", "120")


def test_the_runs_own_volume_is_given_to_a_group_of_its_pods(cluster: Cluster, namespace: str, manager: Manager) -> None:
    cluster.make_volumes(namespace, 1, local=True)
    own = f"mine-{RUN[:8]}"
    folder = cluster.make_claim(namespace, own)
    assert folder.stat().st_uid == folder.stat().st_gid == 0, "new, and root's"
    ended = create(manager, "mine", own)
    assert ended.code == 0 and ended.data["state"] == "finished", ended
    run = folder / f"mine-{RUN}"
    owners = {(path.stat().st_uid, path.stat().st_gid) for path in [run, run / "launch.key", *(run / "checkpoints").iterdir()]}
    assert owners == {(1000, 1000)}
    assert json.loads((run / "runner.json").read_text())["state"] == "finished"


@pytest.mark.parametrize(("local", "name"), [(True, "somebodys"), (False, f"mine-{RUN[:8]}")], ids=["another's", "hostPath"])
def test_a_volume_that_nobody_gives_away_ends_the_job_and_says_whose_it_is(
    cluster: Cluster, namespace: str, manager: Manager, local: bool, name: str
) -> None:
    """A claim that the run did not make is left as it is, also where Kubernetes could change it."""
    cluster.make_volumes(namespace, 1, local=local)
    folder = cluster.make_claim(namespace, name)
    ended = create(manager, "mine", name)
    assert ended.code == 1 and ended.data["state"] == "failed", ended
    found = next(each for each in manager("status", "mine").data["findings"] if each["id"] == "volume.owner")
    assert "/trainyard belongs to user 0, group 0 (drwxr-xr-x), and this process is user 1000" in found["summary"]
    assert "cluster.security.run_as_user: 0 (--run-as-user 0)" in found["fix"]
    assert folder.stat().st_gid == 0 and not list(folder.iterdir())
