"""What pods tell of a job's state, in the shapes that a kubelet writes. In a fresh process; no cluster answers, and none is asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ptjob_call import OURS, PROGRAM, Manager

LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import trainyard_kube as kube
from ptjob_engines import ENGINES
from ptjob_find import Job
from ptjob_change import losses
from ptjob_findings import find_causes
from ptjob_status import observe
asked = json.load(sys.stdin)
cluster = kube.connect(kube.Where())
job = Job(ENGINES[asked["engine"]], asked["object"], asked["pods"])
seen = observe(job)
found = [] if seen["state"] == "pending" else [each.id for each in find_causes(cluster, job, seen["state"])]
print(json.dumps({**seen, "found": found, "requests": cluster.requests, "losses": [each.summary for each in losses(job)]}))
"""
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
FAILED = {"terminated": {"exitCode": 1, "reason": "Error"}}
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 1m20s restarting failed container"}}
STARTING = {"waiting": {"reason": "ContainerCreating"}}
Pod = dict[str, Any]


def pod(
    rank: int, state: Any, *, last: Any = None, restarts: int = 0, phase: str = "Running", ready: bool | None = None
) -> Pod:
    """Of a TrainJob, with one container."""
    main = {"name": "node", "state": state, "lastState": last or {}, "restartCount": restarts}
    is_ready = "running" in state if ready is None else ready
    return {
        "metadata": {
            "name": f"tiny-node-0-{rank}-abcde",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"batch.kubernetes.io/job-completion-index": str(rank)},
        },
        "spec": {"containers": [{"name": "node"}]},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(is_ready)}],
            "containerStatuses": [main],
        },
    }


def look(folder: Path, pods: list[Pod], conditions: list[dict[str, str]] | None = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "tiny", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    job = {"kind": "TrainJob", "metadata": metadata, "spec": {"trainer": {"numNodes": len(pods)}, **spec}}
    job["status"] = {"conditions": conditions or []}
    asked = json.dumps({"engine": "trainjob", "object": job, "pods": pods})
    environment = {**os.environ, "KUBECONFIG": str(nobody(folder))}
    words = [sys.executable, "-c", LOOK, str(PROGRAM.parent)]
    done = subprocess.run(words, input=asked, capture_output=True, text=True, check=True, timeout=60, env=environment)
    return dict(json.loads(done.stdout))


def nobody(folder: Path) -> Path:
    """A kubeconfig that leads to a port where nobody listens: a request would fail."""
    path = folder / "nobody.kubeconfig"
    cluster, user = {"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}, {"name": "u", "user": {"token": "t"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {"apiVersion": "v1", "kind": "Config", "current-context": "c"}
    path.write_text(json.dumps({**config, "clusters": [cluster], "users": [user], "contexts": [context]}))
    return path


@pytest.mark.parametrize(
    ("state", "found"), [(BACK_OFF, ["container.crashing", "exit.1"]), (FAILED, ["exit.1"])], ids=["waits", "has just ended"]
)
def test_a_container_that_crashed_in_a_running_pod_makes_the_job_restarting_with_its_cause(
    tmp_path: Path, state: Any, found: list[str]
) -> None:
    crashed = pod(1, state, last=FAILED if state is BACK_OFF else None, restarts=4)
    seen = look(tmp_path, [pod(0, RUNNING), crashed])
    assert (seen["state"], seen["nodes"]) == ("restarting", {"wanted": 2, "running": 1, "ready": 1})
    assert seen["found"] == found and seen["requests"] == 0
    assert "1 of 2 nodes run" in seen["reason"] and ("CrashLoopBackOff" in seen["reason"]) == (state is BACK_OFF)


def test_the_first_crash_is_a_restart_though_the_kubelet_has_counted_none_yet(tmp_path: Path) -> None:
    assert look(tmp_path, [pod(0, FAILED)])["state"] == "restarting"


def test_a_healthy_job_has_no_findings_and_costs_no_request(tmp_path: Path) -> None:
    """One container was restarted yesterday, and has run since."""
    seen = look(tmp_path, [pod(0, RUNNING), pod(1, RUNNING, last=FAILED, restarts=1)])
    assert (seen["state"], seen["nodes"]["ready"], seen["found"], seen["requests"]) == ("running", 2, [], 0)


def test_a_start_is_no_failure(tmp_path: Path) -> None:
    starting = pod(1, STARTING, phase="Pending")
    assert look(tmp_path, [pod(0, STARTING, phase="Pending"), starting])["state"] == "pending"
    just_begun = look(tmp_path, [pod(0, RUNNING), pod(1, RUNNING, ready=False)])
    assert (just_begun["state"], just_begun["found"], just_begun["requests"]) == ("running", [], 0)


def test_a_node_that_runs_and_is_not_ready_is_asked_why(tmp_path: Path) -> None:
    """Its sidecar crashes, while its own container trains."""
    lame = pod(1, RUNNING, ready=False)
    lame["status"]["containerStatuses"].append({"name": "sidecar", "state": BACK_OFF, "lastState": FAILED, "restartCount": 9})
    seen = look(tmp_path, [pod(0, RUNNING), lame])
    assert (seen["state"], seen["nodes"]["ready"]) == ("running", 1)
    assert seen["found"] == ["container.crashing", "exit.1"] and seen["requests"] == 0


def test_without_a_volume_it_is_told_that_nothing_outlives_the_pods(tmp_path: Path) -> None:
    volume = {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "tiny-01234567"}}]}
    assert look(tmp_path, [pod(0, RUNNING)], runtimePatches=[{"spec": volume}])["losses"] == []
    (told,) = look(tmp_path, [pod(0, RUNNING)])["losses"]
    assert "no volume claim" in told and "step 0" in told


@pytest.mark.parametrize(
    "words", [("scale", "--nodes", "2"), ("suspend",), ("resume",), ("delete", "--yes")], ids=lambda w: w[0]
)
def test_a_verb_that_changes_a_job_asks_for_the_run_id_and_says_where_it_is(tmp_path: Path, words: tuple[str, ...]) -> None:
    manager = Manager(nobody(tmp_path), "ml")
    refused = manager(words[0], "tiny", *words[1:])
    assert (refused.code, refused.error["code"]) == (2, "usage")
    assert all(word in refused.error["message"] for word in ("--run-id", "`list`", "run.json"))
    assert manager(words[0], "tiny", *OURS, *words[1:]).code == 8, "with it the cluster is asked"


def test_pods_that_a_resumed_job_gets_are_no_restarts_and_later_ones_are(tmp_path: Path) -> None:
    resumed = {"type": "Suspended", "status": "False", "reason": "Resumed", "lastTransitionTime": "2026-01-01T01:00:00Z"}
    young, younger = pod(0, RUNNING), pod(1, RUNNING)
    young["metadata"]["creationTimestamp"], younger["metadata"]["creationTimestamp"] = (
        "2026-01-01T01:00:02Z",
        "2026-01-01T02:00:00Z",
    )
    assert look(tmp_path, [young, younger], [resumed])["restarts"] == 1
    assert look(tmp_path, [young, younger])["restarts"] == 2


FAILED_JOB = {"type": "Failed", "status": "True", "message": "1 replica failed"}
WORD = {"trainyard": {"state": "failed", "restarts": 3, "reason": "node 1 ended with 1: ValueError: no data"}}


def test_what_the_launcher_left_as_it_gave_up_is_the_count_and_the_reason(tmp_path: Path) -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": json.dumps(WORD)}}
    seen = look(tmp_path, [pod(0, ended, phase="Failed"), pod(1, FAILED, phase="Failed")], [FAILED_JOB])
    assert (seen["restarts"], seen["reason"]) == (3, "node 1 ended with 1: ValueError: no data")


@pytest.mark.parametrize(
    "message",
    [
        "[" * 4000,
        '{"trainyard": {"restarts": true, "reason": "x"}}',
        '{"trainyard": 7}',
        '{"trainyard": {"restarts": -1, "reason": "x"}}',
    ],
)
def test_a_message_that_is_not_a_launchers_is_passed_over(tmp_path: Path, message: str) -> None:
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": message}}
    seen = look(tmp_path, [pod(0, ended, phase="Failed")], [FAILED_JOB])
    assert (seen["restarts"], seen["reason"]) == (0, "1 replica failed")
