"""A helper pod in a namespace that refuses root, and under a quota on limits: it is as the job was, or says whom it may not read."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_calls import RUN_ID
from made_checkpoints import write_lock, write_step
from pod_places import RUN_DIR, Place, claim_on_real_node

from tests.components.cluster.running import Cluster

QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "team"},
    "spec": {"hard": {"limits.cpu": "4", "limits.memory": "8Gi", "limits.ephemeral-storage": "1Gi", "requests.memory": "8Gi"}},
}
SECRET = f"/trainyard/root-{RUN_ID}"


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A run of user 1000 whose folder its group may use, and one that root alone may use."""
    with claim_on_real_node(cluster, tmp_path_factory.mktemp("volume")) as made:
        cluster.kubectl("label", "namespace", made.namespace, "pod-security.kubernetes.io/enforce=restricted")
        cluster.apply([QUOTA], "--namespace", made.namespace)
        made.folder.chmod(0o755)
        for step in (100, 200, 300):
            write_step(made.checkpoints, step)
        write_lock(made.checkpoints, None)
        give(made.run, 1000, 0o770)
        write_step(made.folder / f"root-{RUN_ID}" / "checkpoints", 1)
        (made.folder / f"root-{RUN_ID}").chmod(0o700)
        yield made


def give(folder: Path, owner: int, mode: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, owner)
        path.chmod(mode if path.is_dir() else mode & 0o666)


@pytest.mark.situation(
    "S31", "PodSecurity restricted; `pod_checkpoints.py list --claim`", "works, as the job's user or user 1000"
)
@pytest.mark.situation("S32", "quota on limits.memory; `pod_checkpoints.py list --claim`", "works: the helper pod has limits")
def test_a_helper_pod_is_accepted_where_root_is_not_and_limits_are_counted(place: Place) -> None:
    """Control: a pod without limits, and one of root, are refused there."""
    listed = place.by_helper("list", RUN_DIR)
    assert (listed.code, listed.document.get("data", {}).get("total")) == (0, 3), listed.document
    assert "the namespace refuses pods of root" in listed.stderr and "user 1000" in listed.stderr
    keep = ("--keep-rolling", 1, "--keep-epochs", 0, "--run-as-user", 1000)
    pruned = place.by_helper("prune", RUN_DIR, *keep, "--yes")
    assert pruned.code == 0 and not (place.checkpoints / "step_00000100").exists(), pruned.document
    as_root = place.by_helper("list", RUN_DIR, "--run-as-user", 0)
    assert (as_root.code, as_root.document["error"]["code"]) == (4, "permission")
    assert "violates PodSecurity" in as_root.document["error"]["message"] and "Role" not in as_root.document["error"]["hint"]
    bare = {
        "image": "any",
        "name": "c",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    seccomp = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"bare-{secrets.token_hex(3)}"}}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        spec = {"containers": [bare], "securityContext": seccomp}
        place.cluster.apply([{**pod, "spec": spec}], "--namespace", place.namespace)
    assert "must specify limits" in refused.value.stderr
    assert place.helpers() == []


def test_what_root_alone_may_read_is_said_with_its_owner(place: Place) -> None:
    refused = place.by_helper("list", SECRET)
    error = refused.document["error"]
    assert (refused.code, error["code"]) == (4, "permission")
    assert f"{SECRET} belongs to user 0, group 0 (drwx------), and this process is user 1000" in error["message"]
    assert "--run-as-user" in error["hint"] and "chown" in error["hint"]
    assert place.helpers() == []
