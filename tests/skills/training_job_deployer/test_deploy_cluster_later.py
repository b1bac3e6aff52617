"""A job on a cluster after its submission: status, logs, stop, resume, --fresh, report. Stand-in managers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from deployer_cluster_calls import ClusterProject, values


def test_stop_keeps_the_claim_and_resume_uses_it_again(eks: ClusterProject) -> None:
    assert eks.deploy("run", "--yes", "--detach").exit_code == 0
    run_id = eks.run_json()["run_id"]
    would = eks.deploy("stop", "--dry-run")
    assert (would.exit_code, would.document["changed"], bool(eks.made()["jobs"])) == (0, [], True)
    stopped = eks.deploy("stop")
    assert (stopped.exit_code, stopped.document["changed"]) == (0, ["PyTorchJob ml/toy"])
    assert stopped.data["claim"] in stopped.check("volume")["summary"]
    assert "reclaimPolicy is Delete" in stopped.check("volume")["summary"]
    assert eks.deploy("status").data["state"] == "stopped"
    again = eks.deploy("run", "--yes")
    assert (again.exit_code, "stopped" in again.check("job.finished")["summary"]) == (1, True)
    assert eks.deploy("stop").document["changed"] == []
    created = eks.calls("create")[-1]
    eks.say(state="finished")
    resumed = eks.deploy("resume")
    assert resumed.exit_code == 0, resumed.document
    # the same call, but for the number of the start: it gives the launcher a fresh budget of restarts
    assert eks.calls("create")[-1] == [word.replace("SUBMISSION=1", "SUBMISSION=2") for word in created]
    assert eks.made()["starts"] == [run_id] * 2
    assert list(eks.made()["claims"]) == [stopped.data["claim"]]


def test_a_resume_takes_a_new_image_with_the_same_run_and_claim_only_when_told_to(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    run_id, claims = eks.run_json()["run_id"], list(eks.made()["claims"])
    eks.say(state="failed")
    eks.write_job(image={"uri": "repo@sha256:" + "2" * 64}, monitor={"max_restarts": 9})
    refused = eks.deploy("resume")
    assert (refused.exit_code, "--accept-changes" in refused.error["hint"]) == (5, True)
    asked = eks.deploy("resume", "--accept-changes")
    assert asked.exit_code == 6 and asked.error["hint"].endswith("--accept-changes --yes") and " resume " in asked.error["hint"]
    assert len(eks.made()["starts"]) == 1 and eks.made()["jobs"], "the failed job stays until the new one is agreed to"
    assert eks.deploy("resume", "--accept-changes", "--yes", "--detach").exit_code == 0
    created = eks.calls("create")[-1]
    assert (values(created, "image"), values(created, "max-restarts")) == (["repo@sha256:" + "2" * 64], ["9"])
    assert (values(created, "run-id"), values(created, "claim")) == ([run_id], claims)
    assert (eks.made()["starts"], list(eks.made()["claims"])) == ([run_id] * 2, claims)
    assert eks.deploy("run", "--yes", "--detach").document["changed"] == []


def test_a_finished_run_trains_longer_when_its_job_file_asks_for_more_and_only_then(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    run_id = eks.run_json()["run_id"]
    eks.say(state="finished")
    eks.deploy("resume", "--accept-changes", "--yes")
    assert eks.made()["starts"] == [run_id], "nothing has changed, and nothing is left to do"
    eks.write_job(monitor={"max_restarts": 9})
    refused = eks.deploy("resume")
    assert (refused.exit_code, "--accept-changes" in refused.error["hint"]) == (5, True)
    assert eks.deploy("resume", "--accept-changes", "--yes", "--detach").exit_code == 0
    assert eks.made()["starts"] == [run_id] * 2


@pytest.mark.parametrize(
    "change",
    [{"engine": "trainjob"}, {"checkpoints": {"storage": {"class": "other", "size": "1Gi"}}}],
    ids=["engine", "volume"],
)
def test_a_resume_never_changes_engine_or_volume(eks: ClusterProject, change: dict[str, object]) -> None:
    eks.deploy("run", "--yes", "--detach")
    eks.say(state="failed")
    eks.write_job(**change)
    refused = eks.deploy("resume", "--accept-changes", "--yes")
    assert (refused.exit_code, "cannot change" in refused.error["message"]) == (5, True)
    assert "--accept-changes" not in eks.deploy("resume").error["hint"], "what would be refused is no way out"
    assert len(eks.made()["starts"]) == 1


def test_a_failed_job_is_removed_before_resume_makes_it_again(eks: ClusterProject) -> None:
    eks.say(state="failed", log=["[0] Traceback", "[0] ValueError: no"])
    failed = eks.deploy("run", "--yes")
    assert (failed.exit_code, failed.data["log_tail"]) == (1, ["[0] Traceback", "[0] ValueError: no"])
    assert eks.deploy("run", "--yes").exit_code == 1
    assert len(eks.made()["starts"]) == 1
    resumed = eks.deploy("resume", "--detach")
    assert resumed.exit_code == 0, resumed.document
    assert len(eks.made()["starts"]) == 2


def test_a_job_that_somebody_deleted_is_gone_and_comes_back_only_by_resume(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    (eks.stand_in / "made.json").unlink()
    status = eks.deploy("status")
    assert (status.data["state"], status.data["health"]) == ("gone", "fail")
    assert eks.deploy("run", "--yes").exit_code == 1
    assert eks.made()["starts"] == []
    assert eks.deploy("resume", "--detach").exit_code == 0
    assert len(eks.made()["starts"]) == 1


def test_a_cluster_that_cannot_be_found_is_no_job_that_is_gone(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    eks.say(answers={verb: {"error": "not-found"} for verb in ("status", "list")})  # as without a kubeconfig
    for verb in ("status", "stop", "run"):
        assert eks.deploy(verb).exit_code == 3, verb
    assert eks.made()["jobs"] and "stopped" not in eks.run_json()["stages"]
    assert eks.run_json()["stopped"] is None


def test_a_finished_job_whose_object_expired_is_still_finished(eks: ClusterProject) -> None:
    eks.say(state="finished")
    eks.deploy("run", "--yes")
    (eks.stand_in / "made.json").unlink()
    assert eks.deploy("status").data["state"] == "finished"
    assert eks.deploy("run", "--yes").exit_code == 0
    assert eks.made()["starts"] == []


def test_fresh_makes_a_new_run_and_a_new_claim_and_keeps_the_old_claim(eks: ClusterProject) -> None:
    eks.say(state="finished")
    eks.deploy("run", "--yes")
    old = eks.run_json()["run_id"]
    asked = eks.deploy("run", "--fresh")
    assert (asked.exit_code, asked.data["usd_per_hour"]) == (6, 8.0)
    assert (eks.run_json()["run_id"], bool(eks.made()["jobs"])) == (old, True)
    fresh = eks.deploy("run", "--fresh", "--yes")
    assert fresh.exit_code == 0, fresh.document
    new = eks.run_json()["run_id"]
    assert set(eks.made()["claims"]) == {f"toy-{old[:8]}", f"toy-{new[:8]}"}
    assert any(f"toy-{old[:8]}" in line for line in fresh.document["changed"])
    assert eks.run_dir.with_name(f"toy@{old}").is_dir()


def test_a_dry_run_of_fresh_shows_the_new_run_and_changes_nothing(eks: ClusterProject) -> None:
    eks.say(state="finished")
    eks.deploy("run", "--yes")
    old, made = eks.run_json(), eks.made()
    shown = eks.deploy("run", "--fresh", "--dry-run")
    assert shown.exit_code == 0, shown.document
    assert (shown.data["run_id"], shown.data["sets_aside"]) == (None, str(eks.run_dir.with_name(f"toy@{old['run_id']}")))
    assert {row["state"] for row in shown.data["stages"]} == {"to do"} and old["run_id"] not in json.dumps(
        shown.data["request"]
    )
    assert shown.document == eks.deploy("run", "--fresh", "--dry-run").document
    assert (eks.run_json(), eks.made()) == (old, made)
    assert eks.deploy("run", "--dry-run").data["run_id"] == old["run_id"], "the control: without --fresh it is the old one"


@pytest.mark.situation("S38", "a plan that asks for --yes", "no run id before there is a run: each call says the same")
def test_a_plan_that_asks_for_yes_names_no_run_id(eks: ClusterProject) -> None:
    first, second = eks.deploy("run"), eks.deploy("run")
    assert (first.exit_code, first.data["run_id"]) == (6, None)
    assert (first.document, first.stderr) == (second.document, second.stderr)
    eks.say(state="finished")
    eks.deploy("run", "--yes")
    old = eks.run_json()["run_id"]
    first, second = eks.deploy("run", "--fresh"), eks.deploy("run", "--fresh")
    assert (first.exit_code, first.data["run_id"]) == (6, None)
    assert (first.document, first.stderr) == (second.document, second.stderr)
    assert eks.run_json()["run_id"] == old


def test_a_stop_of_a_finished_run_says_that_nothing_is_left_to_resume(eks: ClusterProject) -> None:
    eks.say(state="finished")
    eks.deploy("run", "--yes")
    stopped = eks.deploy("stop")
    assert "nothing is left to resume" in stopped.check("run.state")["summary"]
    assert "`resume`" not in json.dumps(stopped.document) and " resume " not in " ".join(stopped.document["next"])


def test_the_end_of_a_job_is_no_concern(eks: ClusterProject) -> None:
    finding = {"id": "exit.143", "summary": "node-0 ended with 143", "fix": ""}
    eks.deploy("run", "--yes", "--detach")
    for state, wanted in (("running", ["warn"]), ("failed", ["fail"]), ("finished", [])):
        eks.say(state=state, findings=[finding])
        concerns = eks.deploy("status").data["concerns"]
        assert [each["status"] for each in concerns if each["id"] == "exit.143"] == wanted, concerns


def test_a_name_that_is_taken_hides_nothing_behind_it(eks: ClusterProject) -> None:
    (eks.stand_in / "made.json").write_text(
        json.dumps({"jobs": {"toy": {"run_id": "f" * 16, "spec": []}}, "claims": {}, "starts": []})
    )
    plan = eks.deploy("plan")
    assert plan.exit_code == 1
    found = {check["id"]: check["status"] for check in plan.document["checks"]}
    assert (found["check"], found["volume.reclaim"]) == ("fail", "warn")
    refused = eks.deploy("run", "--yes")
    assert refused.exit_code == 5 and {"check", "volume.reclaim"} <= {check["id"] for check in refused.document["checks"]}


def test_fresh_is_refused_while_the_job_lives(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    assert eks.deploy("run", "--fresh", "--dry-run").exit_code == 5
    assert eks.deploy("run", "--fresh", "--yes").exit_code == 5
    assert eks.made()["jobs"]


def test_status_tells_findings_progress_and_an_unknown_stall(eks: ClusterProject) -> None:
    eks.write_job(monitor={"max_restarts": 1})  # the stand-in tells of one restart: as many, and it may have been a drain
    eks.deploy("run", "--yes", "--detach")
    status = eks.deploy("status")
    assert (status.data["state"], status.data["line"]) == ("running", "step 7, loss 2.50000, 1000 tokens/s")
    told = {concern["id"]: concern["status"] for concern in status.data["concerns"]}
    assert (status.data["health"], told) == ("unknown", {"run.restarts": "warn", "run.stall": "unknown"})
    finding = {"id": "image-pull", "summary": "repo cannot be pulled\x1b[31m", "fix": "check image.uri"}
    eks.say(state="pending", findings=[finding])
    status = eks.deploy("status")
    told = {concern["id"]: concern["summary"] for concern in status.data["concerns"]}
    assert (status.data["health"], told["image-pull"]) == ("fail", "repo cannot be pulled")


@pytest.mark.parametrize(("age_s", "told"), [(5, None), (600, "fail")])
def test_a_step_line_that_is_too_old_is_a_stall(eks: ClusterProject, age_s: int, told: str | None) -> None:
    eks.deploy("run", "--yes", "--detach")
    stamp = datetime.now(UTC) - timedelta(seconds=age_s)
    eks.say(times=[stamp.strftime("%Y-%m-%dT%H:%M:%S.123456789Z")])
    status = eks.deploy("status")
    concerns = {concern["id"]: concern["status"] for concern in status.data["concerns"]}
    assert concerns.get("run.stall") == told
    assert abs(status.data["progress"]["last_step_age_s"] - age_s) < 30


def test_findings_are_told_once_while_it_is_watched(eks: ClusterProject) -> None:
    eks.say(state="pending", findings=[{"id": "quota", "summary": "quota exceeded", "fix": "ask for more"}], log=["nothing"])
    timed_out = eks.deploy("run", "--yes", "--timeout", "1")
    assert timed_out.exit_code == 7
    assert timed_out.stderr.count("quota: quota exceeded; ask for more") == 1
    assert eks.deploy("status").data["state"] == "pending"


def test_a_job_that_will_never_run_is_not_watched_for_ever(eks: ClusterProject) -> None:
    """The manager's finding has to stand for half a minute."""
    finding = {"id": "image.invalid", "summary": "container main: a b cannot be pulled", "fix": "correct image.uri"}
    eks.say(state="pending", findings=[finding], log=["nothing"])
    ended = eks.deploy("run", "--yes", "--timeout", "300")
    assert (ended.exit_code, ended.data["state"]) == (1, "pending")
    assert "will stay so: image.invalid" in ended.check("run.endless")["summary"]
    assert [line.split("   ")[0].split()[2] for line in ended.document["next"]] == ["stop", "run"]
    assert eks.made()["jobs"], "it is left as it is"


def test_a_cluster_that_does_not_answer_for_a_while_is_waited_for(eks: ClusterProject) -> None:
    eks.say(state="finished", answers={verb: {"error": "unreachable"} for verb in ("wait", "logs")})
    timed_out = eks.deploy("run", "--yes", "--timeout", "1")
    assert (timed_out.exit_code, timed_out.data["state"]) == (7, "unreachable")
    assert timed_out.stderr.count("still waiting") == 1
    eks.say(answers={})
    assert eks.deploy("run", "--yes").data["state"] == "finished"
    eks.say(answers={"status": {"error": "permission"}})
    assert eks.deploy("run", "--yes").exit_code == 4


def test_logs_are_passed_on_and_local_options_refused(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    assert eks.deploy("logs", "--lines", "5", "--rank", "1", "--previous").data["lines"]
    assert " ".join(eks.calls("logs")[-1]).partition(" --lines 5 --rank 1 --previous ")[1]
    assert eks.deploy("logs", "--attempt", "0").exit_code == 2
    assert eks.deploy("stop", "--now").exit_code == 2
    assert eks.made()["jobs"]


def test_a_report_without_the_runs_files_is_a_warning(eks: ClusterProject) -> None:
    eks.say(state="finished", answers={"fetch": {"error": "timeout"}})
    ran = eks.deploy("run", "--yes")
    assert (ran.exit_code, ran.check("report.files")["status"]) == (0, "warn")
    eks.say(answers={})
    assert eks.deploy("run").data["report"]
    assert eks.run_json()["stages"]["report"]["ended"]
    assert values(eks.calls("fetch")[-1], "claim") == [eks.run_json()["stages"]["storage"]["result"]["claim"]]


def test_list_tells_cluster_runs_without_asking_the_cluster(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    before = len(eks.calls())
    (row,) = eks.deploy("list").data["runs"]
    assert (row["state"], "eks" in row["note"], len(eks.calls())) == ("submitted", True, before)
