"""`why` and `watch --restart` of a run on a cluster: the doctor is asked for this very run, and a node with a fault is no secret."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from deployer_cluster_calls import STAND_IN, ClusterProject

NODE = "ip-10-0-0-7.internal"
EVIDENCE = [{"file": "nodes/ip.json", "line": None, "text": "NodeNotReady"}]
ROOT = {"cause": "node-lost", "title": "a node was lost", "rank": 3, "node": NODE, "restart": "RESTART_ELSEWHERE",
        "evidence": EVIDENCE, "do": "replace the node"}  # fmt: skip
LEDGER = {"restart": "RESTART", "why": "0 of 3 repetitions", "attempts": []}
PLAN = {"nodes": [NODE]}


@pytest.fixture
def failed(eks: ClusterProject) -> ClusterProject:
    """A job that failed at its first start and finishes at its second; the doctor and HyperPod are stand-ins too."""
    hyperpod = eks.folder / "skills" / "hyperpod-manager" / "src"
    hyperpod.mkdir(parents=True)
    shutil.copy(STAND_IN, hyperpod / "manage_hyperpod.py")
    shutil.copy(STAND_IN, eks.folder / "skills" / "monitor" / "src" / "diagnose_training.py")
    eks.say(answers=answers(ROOT), states=["failed", "finished"])
    return eks


def answers(root: dict[str, Any], **more: Any) -> dict[str, Any]:
    clusters = {"data": {"clusters": [{"name": "ours"}]}}
    nodes = {"data": {"nodes": [{"instance_id": "i-1", "node": NODE}]}}
    said = {"doctor": {"data": {"root": root, "attempts": 1}}, "ledger": {"data": LEDGER}}
    return {**said, "clusters": clusters, "nodes": nodes, "replace": {"data": PLAN}, **more}


def begin(project: ClusterProject, target: str) -> None:
    project.write_job(target=target)
    assert project.deploy("run", "--yes", "--detach").exit_code == 0


def test_the_doctor_is_asked_for_this_run_on_its_cluster(failed: ClusterProject) -> None:
    begin(failed, "eks")
    why = failed.deploy("why")
    assert (why.exit_code, why.data["cause"], why.data["node"], why.data["rank"]) == (0, "node-lost", NODE, 3)
    assert why.data["lines"] == EVIDENCE and any(NODE in call for call in why.document["next"])
    where = ["--context", "test", "--namespace", "ml", "--cluster-id", "c0ffee00c0ffee00"]
    assert failed.calls("doctor") == [["diagnose_training", "doctor", "toy", *where, "--json"]]


def test_without_its_pods_the_files_here_are_asked(failed: ClusterProject) -> None:
    begin(failed, "eks")
    failed.say(made={**failed.made(), "jobs": {}})
    why = failed.deploy("why")
    assert (why.data["state"], why.check("why.evidence")["status"]) == ("gone", "warn")
    assert failed.calls("doctor") == [["diagnose_training", "doctor", str(failed.run_dir), "--json"]]
    answer = failed.deploy("watch", "--restart", "--backoff-s", "0")
    assert (answer.exit_code, answer.data["state"], len(failed.made()["starts"])) == (1, "gone", 1), (
        "whoever removed it meant it"
    )


def avoided(project: ClusterProject) -> list[str]:
    """By the job that is there."""
    spec = project.made()["jobs"]["toy"]["spec"]
    return [spec[at + 1] for at, word in enumerate(spec) if word == "--avoid-node"]


@pytest.mark.parametrize("room", [True, False])
def test_on_eks_the_node_is_avoided_where_others_have_room(failed: ClusterProject, room: bool) -> None:
    failed.say(crowded=[] if room else [NODE])
    begin(failed, "eks")
    answer = failed.deploy("watch", "--restart", "--backoff-s", "0")
    assert (answer.exit_code, answer.data["state"]) == (0, "finished"), answer.document
    assert [each["kind"] for each in answer.data["restarted"]] == ["RESTART_ELSEWHERE"]
    told = answer.check("restart.avoid")
    assert (told["status"], avoided(failed)) == (("pass", [NODE]) if room else ("warn", []))
    assert room or "node-2 has no GPU left" in told["summary"]
    assert len(failed.made()["starts"]) == 2 and failed.calls("replace") == []


def test_a_second_node_is_avoided_beside_the_first_and_a_resume_forgets_both(failed: ClusterProject) -> None:
    failed.say(states=["failed", "failed", "failed", "finished"])
    failed.write_job(target="eks", cluster={"namespace": "ml", "avoid_nodes": ["node-9"]})
    assert failed.deploy("run", "--yes", "--detach").exit_code == 0
    assert failed.deploy("watch", "--restart", "--backoff-s", "0", "--max-restarts", "1").exit_code == 1
    assert avoided(failed) == ["node-9", NODE]
    failed.say(answers=answers({**ROOT, "node": "node-3"}))
    assert failed.deploy("watch", "--restart", "--backoff-s", "0", "--max-restarts", "2").exit_code == 1
    assert avoided(failed) == ["node-9", NODE, "node-3"]
    assert failed.deploy("resume").exit_code == 0
    assert avoided(failed) == ["node-9"]


@pytest.mark.parametrize("yes", [False, True])
def test_on_hyperpod_the_node_is_replaced_with_yes_alone(failed: ClusterProject, yes: bool) -> None:
    begin(failed, "hyperpod")
    answer = failed.deploy("watch", "--restart", "--backoff-s", "0", *(["--yes"] if yes else []))
    assert (answer.exit_code, len(failed.made()["starts"])) == (0, 2), answer.document
    asked = [[word for word in call if word in ("ours", NODE, "--yes", "--dry-run")] for call in failed.calls("replace")]
    assert asked == [["ours", NODE, "--dry-run"], *([["ours", NODE, "--yes"]] if yes else [])]
    assert answer.check("restart.node")["status"] == ("pass" if yes else "warn")
    assert avoided(failed) == ([] if yes else [NODE])


def test_a_replacement_that_is_refused_is_told_and_the_run_goes_on(failed: ClusterProject) -> None:
    failed.say(answers=answers(ROOT, **{"replace for real": {"error": "conflict"}}))
    begin(failed, "hyperpod")
    answer = failed.deploy("watch", "--restart", "--backoff-s", "0", "--yes")
    assert (answer.exit_code, answer.check("restart.node")["status"]) == (0, "warn")
    assert "not replaced" in answer.check("restart.node")["summary"] and avoided(failed) == [NODE]


def test_an_older_checkpoint_is_named_and_not_taken(failed: ClusterProject) -> None:
    failed.say(answers=answers({**ROOT, "cause": "checkpoint-damaged", "restart": "RESTART_OLDER"}))
    begin(failed, "eks")
    answer = failed.deploy("watch", "--restart", "--backoff-s", "0")
    assert (answer.exit_code, len(failed.made()["starts"])) == (1, 1)
    fix = answer.check("restart")["fix"]
    assert "job.yaml --from-step STEP" in fix and "pod_checkpoints.py list" in fix


def test_from_step_asks_for_the_rollback_before_the_start(failed: ClusterProject) -> None:
    """By the job's own image and user, from its claim; a program that refuses leaves the run as it is."""
    failed.say(answers=answers(ROOT, rollback={"error": "conflict"}))
    begin(failed, "eks")
    refused = failed.deploy("resume", "--from-step", "400", "--detach")
    assert (refused.exit_code, len(failed.made()["starts"])) == (5, 1), refused.document
    failed.say(answers=answers(ROOT, rollback={"data": {"step": 400, "set_aside": ["step_00000500"]}}))
    plan = failed.deploy("resume", "--from-step", "400", "--dry-run")
    assert plan.data["rolls_back"] == {"step": 400, "set_aside": ["step_00000500"]}
    assert failed.deploy("resume", "--from-step", "400", "--detach").exit_code == 0
    asked = failed.calls("rollback")
    agreed = [[word for word in call if word in ("400", "--dry-run", "--yes", "--holder-gone")] for call in asked]
    assert agreed == [["400", "--yes", "--holder-gone"], ["400", "--dry-run"], ["400", "--yes", "--holder-gone"]]
    assert len(failed.made()["starts"]) == 2, asked


def test_a_watcher_killed_between_the_old_job_and_the_new_one_is_followed_by_another(failed: ClusterProject) -> None:
    """As run.json is then: the restart is begun, its call unanswered, and no job is there."""
    begin(failed, "eks")
    run = failed.run_json()
    restarted = {"start": 1, "time": 1.0, "cause": "node-lost", "kind": "RESTART", "step": 7, "attempt": None}
    run |= {"starts": 2, "restarts": [restarted]}
    run["stages"]["deploy"]["ended"] = None
    (failed.run_dir / "run.json").write_text(json.dumps(run))
    failed.say(made={**failed.made(), "jobs": {}})
    answer = failed.deploy("watch", "--restart", "--backoff-s", "0")
    assert (answer.exit_code, answer.data["state"], len(answer.data["restarted"])) == (0, "finished", 1), answer.document
    assert (len(failed.made()["starts"]), failed.run_json()["starts"], failed.calls("doctor")) == (2, 2, [])
