"""What was not read, refused or cut off is not told as done, and what is another's is not taken for this run's."""

from __future__ import annotations

import pytest
from deployer_cluster_calls import ClusterProject, values

LOOKS = ("status", "wait", "logs")


def test_every_call_names_the_run_and_its_kind(eks: ClusterProject) -> None:
    eks.say(state="finished")
    eks.deploy("run", "--yes")
    eks.deploy("status")
    eks.deploy("stop")
    run_id = eks.run_json()["run_id"]
    for call in [call for verb in (*LOOKS, "delete") for call in eks.calls(verb)]:
        assert (values(call, "run-id"), values(call, "engine")) == ([run_id], ["pytorchjob"]), call


def test_on_a_raycluster_the_runs_own_submission_is_asked_for(eks: ClusterProject) -> None:
    eks.write_job(engine="raycluster")
    eks.say(state="finished")
    assert eks.deploy("run", "--yes").exit_code == 0
    eks.deploy("status")
    own = f"toy-{eks.run_json()['run_id'][:8]}"
    for verb in LOOKS:
        asked = [call for call in eks.calls(verb) if "--ready" not in call]
        assert asked and {tuple(values(call, "submission-id")) for call in asked} == {(own,)}, verb


@pytest.mark.parametrize("other", [None, "f" * 16])
def test_a_job_that_is_not_this_runs_is_no_end_of_it(eks: ClusterProject, other: str | None) -> None:
    eks.deploy("run", "--yes", "--detach")
    eks.say(answers={"wait": {"data": {"state": "finished", "run_id": other, "nodes": {}}}})
    watched = eks.deploy("run", "--yes", "--timeout", "5")
    assert (watched.exit_code, watched.error["code"]) == (5, "conflict")
    assert "watch" not in eks.run_json()["stages"] or not eks.run_json()["stages"]["watch"].get("ended")


UNREAD = {
    "id": "list.pytorchjob",
    "status": "unknown",
    "summary": "not allowed to list pytorchjobs",
    "evidence": None,
    "fix": "rule",
}


def test_a_job_that_may_not_be_read_is_not_gone(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    eks.say(answers={"status": {"error": "not-found"}, "list": {"code": 1, "data": {"jobs": []}, "checks": [UNREAD]}})
    for call in (("status",), ("stop",), ("run", "--fresh", "--yes")):
        refused = eks.deploy(*call)
        assert (refused.exit_code, refused.error["hint"]) == (4, "rule"), call
    assert eks.made()["jobs"] and eks.run_json()["stopped"] is None


def test_a_list_that_does_not_tell_all_does_not_tell_that_a_job_is_gone(eks: ClusterProject) -> None:
    """Another kind that may not be listed does no harm."""
    eks.deploy("run", "--yes", "--detach")
    unread = {**UNREAD, "id": "list.trainjob"}
    eks.say(answers={"status": {"error": "not-found"}, "list": {"code": 1, "data": {"jobs": []}, "checks": [unread]}})
    assert eks.deploy("status").data["state"] == "gone"
    own = [{"name": "toy", "run_id": eks.run_json()["run_id"]}]
    eks.say(answers={"status": {"error": "not-found"}, "list": {"data": {"jobs": own}}})
    assert eks.deploy("status").exit_code == 3


def test_what_was_stopped_before_its_creation_was_recorded_is_not_made_again(eks: ClusterProject) -> None:
    eks.say(answers={"create for real": {"after": "timeout"}})
    assert eks.deploy("run", "--yes", "--detach").exit_code == 7
    assert eks.made()["jobs"] and not eks.run_json()["stages"]["deploy"]["ended"]
    eks.say(answers={})
    assert eks.deploy("stop").data["state"] == "stopped"
    assert eks.deploy("run", "--yes").exit_code == 1
    assert (eks.made()["jobs"], len(eks.made()["starts"])) == ({}, 1)
    eks.say(state="finished")
    assert eks.deploy("resume").exit_code == 0
    assert len(eks.made()["starts"]) == 2


def test_a_stop_whose_pods_still_save_is_waited_for_by_the_next_call(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    eks.say(answers={"delete": {"after": "timeout"}})
    assert eks.deploy("stop").exit_code == 7
    assert not eks.made()["jobs"], "the object is gone, and its pods are not"
    for call in ("stop", "resume"):
        assert eks.deploy(call).exit_code == 7, call
    eks.say(answers={}, state="finished")
    assert eks.deploy("stop").data["state"] == "stopped"
    assert eks.deploy("resume").exit_code == 0


def test_a_stop_that_was_refused_leaves_a_running_job(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    eks.say(answers={"delete": {"error": "permission"}})
    assert eks.deploy("stop").exit_code == 4
    assert (eks.deploy("status").data["state"], eks.run_json()["stopped"]) == ("running", None)


def test_a_job_that_is_being_stopped_is_judged_like_one_that_runs(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    eks.say(answers={"delete": {"error": "unreachable"}})
    assert eks.deploy("stop").exit_code == 8
    status = eks.deploy("status")
    told = {concern["id"]: concern["status"] for concern in status.data["concerns"]}
    assert (status.data["state"], told) == ("stopping", {"run.state": "warn", "run.restarts": "warn", "run.stall": "unknown"})


def test_a_change_keeps_the_volume_and_its_zone(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    claim = eks.run_json()["stages"]["storage"]["result"]["claim"]
    eks.say(state="failed")
    eks.write_job(resources={"memory": "64Gi"})
    before = len(eks.calls("fit"))
    assert eks.deploy("resume", "--accept-changes", "--yes", "--detach").exit_code == 0
    asked = eks.calls("fit")[before:]
    assert asked and all(values(call, "claim") == [claim] for call in asked)
