"""What is being deleted is said to be: a job, and the claim of one; nothing more is asked of either."""

from __future__ import annotations

import pytest
from foreign_jobs import ON_KWOK, container, job
from ptjob_call import KWOK, OTHER_RUN, OURS, Manager

from tests.components.cluster.running import Cluster

HOLD = "example.com/hold"


def delete_and_hold(cluster: Cluster, namespace: str, kind: str, name: str) -> None:
    """It stays until `let_go`."""
    held = f'{{"metadata": {{"finalizers": ["{HOLD}"]}}}}'
    cluster.kubectl("patch", kind, name, "--namespace", namespace, "--type=merge", "--patch", held)
    cluster.kubectl("delete", kind, name, "--namespace", namespace, "--wait=false")


def let_go(cluster: Cluster, namespace: str, kind: str, name: str) -> None:
    patch = '[{"op": "remove", "path": "/metadata/finalizers"}]'
    cluster.kubectl("patch", kind, name, "--namespace", namespace, "--type=json", "--patch", patch)


@pytest.mark.situation(
    "V02", "a job that is being deleted, and is still there", "`deleting` and who holds it; exit 5 where it is asked something"
)
def test_a_job_that_is_being_deleted_is_asked_nothing_more(manager: Manager, cluster: Cluster) -> None:
    made = ("--nodes", "2", "--claim", "no-such", *KWOK)
    assert manager.create("tiny", *made).code == 0
    delete_and_hold(cluster, manager.namespace, "pytorchjob", "tiny")
    seen = manager("status", "tiny")
    assert (seen.code, seen.data["state"]) == (0, "deleting") and HOLD in seen.finding("job.deleting")["summary"]
    assert manager("list").data["jobs"][0]["state"] == "deleting"
    asked = {
        "wait": manager("wait", "tiny", "--timeout", "20"),
        "create": manager.create("tiny", *made),
        "create for another run": manager.create("tiny", *made, run_id=OTHER_RUN),
        "scale": manager("scale", "tiny", *OURS, "--nodes", "3"),
        "scale to what it is": manager("scale", "tiny", *OURS, "--nodes", "2"),
        "suspend": manager("suspend", "tiny", *OURS),
        "resume": manager("resume", "tiny", *OURS, "--dry-run"),
    }
    for what, answer in asked.items():
        assert (answer.code, answer.error["code"], answer.error["retryable"]) == (5, "conflict", True), what
        assert "is being deleted" in answer.error["message"] and HOLD in answer.error["message"], what
    let_go(cluster, manager.namespace, "pytorchjob", "tiny")
    assert manager("delete", "tiny", *OURS, "--yes").data["state"] == "absent"
    assert manager.create("tiny", *made, run_id=OTHER_RUN).code == 0, "the name is free again"


def test_a_delete_waits_until_the_name_is_free(manager: Manager, cluster: Cluster) -> None:
    """The pods of a suspended job are gone already: only its object is left."""
    manager.create("tiny", *KWOK)
    manager("suspend", "tiny", *OURS)
    manager.until("suspended", "tiny", nodes=0)
    delete_and_hold(cluster, manager.namespace, "pytorchjob", "tiny")
    held = manager("delete", "tiny", *OURS, "--yes", "--timeout", "0")
    assert (held.code, held.error["code"]) == (7, "timeout")
    let_go(cluster, manager.namespace, "pytorchjob", "tiny")
    assert manager("delete", "tiny", *OURS, "--yes").data["state"] == "absent"


@pytest.mark.situation(
    "S18", "a claim that is bound and being deleted", "it is being deleted: in `status`, and exit 5 of `create` and `resume`"
)
def test_a_claim_that_is_being_deleted_is_not_waited_for(manager: Manager, cluster: Cluster) -> None:
    cluster.make_volumes(manager.namespace, 1)
    cluster.make_claim(manager.namespace, "kept")
    assert manager.create("early", "--claim", "kept", *KWOK).code == 0, "control: nobody deletes it"
    manager("suspend", "early", *OURS)
    manager.until("suspended", "early", nodes=0)
    delete_and_hold(cluster, manager.namespace, "pvc", "kept")
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "kept"}}]
    pod = {
        "volumes": volumes,
        "containers": [container("pytorch", "true", volumeMounts=[{"name": "data", "mountPath": "/data"}])],
    }
    cluster.apply([job("waits", **pod, **ON_KWOK)], "--namespace", manager.namespace)
    for answer in (manager.create("late", "--claim", "kept", *KWOK), manager("resume", "early", *OURS)):
        assert (answer.code, answer.error["code"]) == (5, "conflict") and "kept is being deleted" in answer.error["message"]
    assert manager("status", "late").code == 3, "nothing was made"
    found = manager.until_found("volume.deleting", "waits").finding("volume.deleting")
    assert "being deleted" in found["summary"]
    let_go(cluster, manager.namespace, "pvc", "kept")
