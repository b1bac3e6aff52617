"""Pods of another user than root on a new volume, which root owns: they write where Kubernetes gives the volume to their group; elsewhere
the job ends at once and says whose the volume is."""

from __future__ import annotations

from typing import Any

import pytest
from ptjob_call import PYTHON, REAL, RUN, Manager

from tests.components.cluster.running import TRAINER_IMAGE, Cluster
from tests.components.images.fixtures import full_images

OWN = f"mine-{RUN[:8]}"
"""As checkpoint-manager calls the claim of this run."""
TRAIN = ("--", "torchrun", "tests/e2e/slow_loop.py", "3", "0")
WRITE = ("--", "sh", "-c", "mkdir -p $TRAINYARD_RUN_DIR && cat /proc/self/status >$TRAINYARD_RUN_DIR/file")


def ended(manager: Manager, command: tuple[str, ...], image: str, *words: str) -> Any:
    words = (*REAL, "--image", image, "--run-as-user", "1000", "--claim", OWN, *words)
    made = manager.create("mine", *words, command=command)
    assert made.code == 0, made
    return manager("wait", "mine", "--timeout", "120")


@pytest.mark.situation("S30", "namespace with PodSecurity restricted: job", "runs with `cluster.security`")
@pytest.mark.parametrize("several", [False, pytest.param(True, marks=full_images)], ids=["one", "several"])
def test_the_runs_own_volume_is_given_to_a_group_of_its_pods(
    cluster: Cluster, namespace: str, manager: Manager, several: bool
) -> None:
    """One program in one pod; and two pods that train, with their key and checkpoints. In a namespace that takes no other pods than
    those of the level restricted."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    cluster.make_volumes(namespace, 1, local=True)
    folder = cluster.make_claim(namespace, OWN)
    assert folder.stat().st_uid == folder.stat().st_gid == 0, "new, and root's"
    more = ("--nodes", "2", "--memory", "1Gi", "--env", "OMP_NUM_THREADS=1")
    done = ended(manager, TRAIN, TRAINER_IMAGE, *more) if several else ended(manager, WRITE, PYTHON)
    assert done.code == 0 and done.data["state"] == "finished", done
    run = folder / f"mine-{RUN}"
    made = [run, run / "launch.key", *(run / "checkpoints").iterdir()] if several else [run, run / "file"]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(1000, 1000)}
    assert oct(run.stat().st_mode & 0o7777) == "0o2770", "nobody else looks into it"
    if not several:
        status = dict(line.split(":", 1) for line in (run / "file").read_text().splitlines())
        assert [int(status[key], 16) for key in ("CapBnd", "NoNewPrivs", "Seccomp")] == [0, 1, 2], (
            "no rights, none to be had, filtered"
        )


def test_a_volume_that_nobody_gives_away_ends_the_job_and_says_whose_it_is(
    cluster: Cluster, namespace: str, manager: Manager
) -> None:
    """On a hostPath, as on FSx, Kubernetes changes nothing. Both pods end before torch is loaded."""
    cluster.make_volumes(namespace, 1)
    folder = cluster.make_claim(namespace, OWN)
    done = ended(manager, TRAIN, TRAINER_IMAGE, "--nodes", "2")
    assert done.code == 1 and done.data["state"] == "failed", done
    found = next(each for each in manager("status", "mine").data["findings"] if each["id"] == "volume.owner")
    assert "/trainyard belongs to user 0, group 0 (drwxr-xr-x), and this process is user 1000" in found["summary"]
    assert "set cluster.security.run_as_user (--run-as-user) to the owner's number" in found["fix"]
    assert folder.stat().st_gid == 0 and not list(folder.iterdir())
