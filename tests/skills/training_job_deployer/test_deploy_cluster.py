"""Targets on a cluster: one job for one run id, the cluster of the run, what is asked before and told afterwards. Stand-in managers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest
from deployer_calls import wait_for
from deployer_cluster_calls import ClusterProject, values

STAGES = ["fit", "network", "check", "storage", "deploy", "watch", "report"]
WHERE = ["--context", "test", "--namespace", "ml", "--cluster-id", "c0ffee00c0ffee00"]


def test_a_run_without_yes_shows_cost_nodes_and_what_would_be_made_and_makes_nothing(eks: ClusterProject) -> None:
    eks.write_job(budget={"max_usd": 200})
    refused = eks.deploy("run")
    assert (refused.exit_code, refused.error["code"]) == (6, "confirm")
    assert refused.data["usd_per_hour"] == 8.0
    assert refused.data["budget"] == {"max_usd": 200, "hours": 25.0}
    assert refused.data["nodes"] == ["node-1", "node-2"]
    assert refused.data["makes"][:2] == ["pytorchjob toy", "2 pods"]
    assert "--yes" in refused.error["hint"]
    assert eks.made() == {"jobs": {}, "claims": {}, "starts": []}
    assert not eks.run_dir.exists()


def test_a_run_goes_through_the_stages_to_the_end_and_a_second_run_says_so(eks: ClusterProject) -> None:
    eks.say(state="finished")
    first = eks.deploy("run", "--yes")
    assert first.exit_code == 0, first.document
    run = eks.run_json()
    assert list(run["stages"]) == STAGES
    assert run["cluster"]["cluster_id"] == "c0ffee00c0ffee00"
    assert (first.data["claim"], first.data["step"]) == (f"toy-{run['run_id'][:8]}", 7)
    assert first.data["report"] == str(eks.run_dir / "report.html")
    again = eks.deploy("run")
    assert (again.exit_code, again.document["changed"]) == (0, [])
    assert "already" in again.check("job.finished")["summary"]
    assert eks.made()["starts"] == [run["run_id"]]


def test_the_manager_gets_what_the_job_file_and_the_fit_say(eks: ClusterProject) -> None:
    toleration = {"key": "gpu", "operator": "Exists"}
    cluster = {"namespace": "ml", "queue": "q", "node_selector": {"a": "b"}, "tolerations": [toleration]}
    eks.write_job(
        env={"NCCL_NET": "Socket"},
        secrets={"HF_TOKEN": "hf/token"},
        cluster=cluster,
        monitor={"stop_grace_s": 90, "hang": "report", "hang_after_s": 900},
    )
    eks.say(state="finished")
    assert eks.deploy("run", "--yes").exit_code == 0
    words = eks.calls("create")[-1]
    assert words[words.index("--") :] == ["--", "torchrun", "train.py", "--steps", "3"]
    given = {
        name: values(words, name)
        for name in ("nodes", "procs", "gpus", "efa", "shm", "queue", "grace-s", "hang", "hang-after-s", "secret")
    }
    assert given == {"nodes": ["2"], "procs": ["1"], "gpus": ["1"], "efa": ["1"], "shm": ["16Gi"], "queue": ["q"],
                     "grace-s": ["90"], "hang": ["report"], "hang-after-s": ["900"], "secret": ["HF_TOKEN=hf/token"]}  # fmt: skip
    assert "NCCL_NET=Socket" in values(words, "env")
    assert set(values(words, "node-selector")) == {"a=b", "topology.kubernetes.io/zone=us-west-2a"}
    assert json.loads(values(words, "toleration")[0]) == toleration
    assert values(words, "claim") == [eks.run_json()["stages"]["storage"]["result"]["claim"]]


def test_later_verbs_go_to_the_cluster_of_the_run(eks: ClusterProject) -> None:
    eks.write_job(cluster=None)  # the current context, whatever it was
    assert eks.deploy("run", "--yes", "--detach").exit_code == 0
    for verb in ("status", "logs", "stop"):
        assert eks.deploy(verb).exit_code == 0, verb
    for verb in ("status", "logs", "delete"):
        assert eks.calls(verb)[-1][-len(WHERE) :] == WHERE


def test_another_cluster_behind_that_context_is_a_conflict(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    run = eks.run_json()
    run["cluster"]["cluster_id"] = "0" * 16
    (eks.run_dir / "run.json").write_text(json.dumps(run))
    for verb in ("status", "stop", "run"):
        assert eks.deploy(verb).exit_code == 5, verb
    assert eks.made()["jobs"]


def called(verb: str, times: int = 1) -> Callable[[ClusterProject], bool]:
    return lambda project: len(project.calls(verb)) >= times


def begun(stage: str, *, answered: bool) -> Callable[[ClusterProject], bool]:
    def look(project: ClusterProject) -> bool:
        path = project.run_dir / "run.json"
        record = json.loads(path.read_text())["stages"].get(stage) if path.exists() else None
        return record is not None and (not answered or record["ended"] is not None)

    return look


POINTS: dict[str, Callable[[ClusterProject], bool]] = {
    "fit was called": called("fit"),
    "the run id is written": lambda project: (project.run_dir / "run.json").exists(),
    "storage was begun": begun("storage", answered=False),
    "the claim is made": lambda project: bool(project.made()["claims"]),
    "storage answered": begun("storage", answered=True),
    "deploy was begun": begun("deploy", answered=False),
    "the job is made": lambda project: bool(project.made()["jobs"]),
    "deploy answered": begun("deploy", answered=True),
    "it is watched": called("wait"),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_the_same_command_gives_one_job_and_one_volume(eks: ClusterProject, point: str) -> None:
    with eks.running() as process:
        wait_for(lambda: POINTS[point](eks), point)
        process.kill()
    eks.say(state="finished")
    answer = eks.deploy("run", "--yes")
    assert answer.exit_code == 0, answer.document
    run_id = eks.run_json()["run_id"]
    assert eks.made()["starts"] == [run_id]
    assert eks.made()["claims"] == {f"toy-{run_id[:8]}": run_id}
    assert all(record["ended"] for record in eks.run_json()["stages"].values())


def test_a_call_that_is_still_on_its_way_makes_the_job_that_is_asked_for_again(eks: ClusterProject) -> None:
    """The caller was killed and its manager lives on: both calls are the same, whichever of them comes first."""
    eks.say(late={"verb": "create", "seconds": 2})
    with eks.running() as process:
        wait_for(lambda: (eks.stand_in / "late-now.json").exists(), "the first manager")
        process.kill()
    eks.say(state="finished")
    again = eks.deploy("run", "--yes")
    assert again.exit_code == 0, again.document
    wait_for(lambda: len(eks.made()["starts"]) == 1, "the job")
    (request,) = {json.dumps(job["spec"]) for job in eks.made()["jobs"].values()}
    assert "TRAINYARD_SUBMISSION=1" in request


def test_a_job_that_is_made_between_two_looks_is_not_called_absent(eks: ClusterProject) -> None:
    assert eks.deploy("run", "--yes", "--detach").exit_code == 0
    eks.say(**{"not-yet": "status"})
    answer = eks.deploy("status")
    assert (answer.exit_code, answer.data["state"]) == (0, "running"), answer.document


def test_a_stage_that_holds_its_answer_is_not_repeated(eks: ClusterProject) -> None:
    eks.say(answers={"create": {"error": "unreachable"}})
    assert eks.deploy("run", "--yes").exit_code == 8
    eks.say(answers={})
    eks.say(state="finished")
    with eks.running() as process:
        wait_for(lambda: POINTS["storage answered"](eks), "storage")
        process.kill()
    volumes, fits = len(eks.calls("ensure-volume")), len(eks.calls("fit"))
    assert eks.deploy("run", "--yes").exit_code == 0
    assert (len(eks.calls("ensure-volume")), len(eks.calls("fit"))) == (volumes, fits)


def test_a_job_that_does_not_fit_makes_nothing(eks: ClusterProject) -> None:
    short = {"id": "fit.gpus", "status": "fail", "summary": "1 of 2 nodes is free", "evidence": None, "fix": "fewer nodes"}
    eks.say(answers={"fit": {"code": 1, "data": {"fits": False, "missing": ["1 node"]}, "checks": [short]}})
    refused = eks.deploy("run", "--yes")
    assert (refused.exit_code, refused.check("fit.gpus")["fix"]) == (1, "fewer nodes")
    assert refused.data["missing"] == ["1 node"]
    assert not eks.run_dir.exists()
    assert not eks.calls("ensure-volume")


def test_what_the_fit_does_not_know_is_unknown_in_the_plan_and_no_reason_to_refuse(eks: ClusterProject) -> None:
    unknown = {"id": "fit.nodes", "status": "unknown", "summary": "not allowed to list nodes", "evidence": None, "fix": "rule"}
    eks.say(answers={"fit": {"code": 1, "data": {"fits": False}, "checks": [unknown]}}, state="finished")
    plan = eks.deploy("plan")
    assert (plan.exit_code, plan.check("fit.nodes")["status"]) == (1, "unknown")
    ran = eks.deploy("run", "--yes")
    assert ran.exit_code == 0
    assert "unknown: fit.nodes" in ran.stderr


@pytest.mark.situation("S39", "`fit` warns: nodes may be added", "`run --yes` submits the job")
@pytest.mark.situation("S36", "`fit` warns: the job puts others out", "the plan names them; `run --yes` submits the job")
def test_a_warning_of_the_fit_is_told_and_the_job_is_submitted(eks: ClusterProject) -> None:
    warns = {"id": "fit.nodes", "status": "warn", "summary": "fits by preemption", "evidence": None, "fix": "wait"}
    fit = {"fits": True, "nodes": [], "zone": None, "missing": [], "preempts": ["team/low-0"], "usd_per_hour": 11.3}
    eks.say(answers={"fit": {"code": 0, "data": fit, "checks": [warns]}}, state="finished")
    plan = eks.deploy("run")
    assert plan.exit_code == 6 and "evicts pods of a lower priority, such as team/low-0" in plan.data["summary"], plan.data
    assert eks.deploy("run", "--yes").data["state"] == "finished"


def test_a_plan_without_a_cluster_is_unknown_and_still_shows_the_stages(eks: ClusterProject) -> None:
    eks.say(answers={"fit": {"error": "unreachable"}})
    plan = eks.deploy("plan")
    assert (plan.exit_code, plan.check("fit")["status"]) == (1, "unknown")
    assert " plan " in plan.document["next"][0] and "--yes" not in plan.document["next"][0], "`run` would end there"
    assert [stage["stage"] for stage in plan.data["stages"]] == STAGES
    assert eks.deploy("run", "--yes").exit_code == 8
    assert not eks.run_dir.exists()


def test_a_plan_warns_that_the_volume_goes_with_its_claim(eks: ClusterProject) -> None:
    plan = eks.deploy("plan")
    assert (plan.exit_code, plan.check("volume.reclaim")["status"]) == (0, "warn")
    assert eks.made()["claims"] == {}


def test_a_job_of_somebody_else_under_that_name_is_refused_before_a_volume_is_made(eks: ClusterProject) -> None:
    (eks.stand_in / "made.json").write_text('{"jobs": {"toy": {"run_id": "other", "spec": []}}, "claims": {}, "starts": []}')
    refused = eks.deploy("run", "--yes")
    assert (refused.exit_code, refused.error["code"]) == (5, "conflict")
    assert eks.made()["claims"] == {}


def test_a_changed_job_file_after_the_submission_is_a_conflict(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    eks.write_job(nodes=3, target="hyperpod")
    changed = eks.deploy("run", "--yes")
    assert changed.exit_code == 5
    assert "target" in changed.error["message"] and "nodes" in changed.error["message"]
    assert eks.deploy("plan").check("inputs.changed")["status"] == "warn"


def test_source_files_are_in_the_image_and_their_change_is_none(eks: ClusterProject) -> None:
    eks.deploy("run", "--yes", "--detach")
    (eks.folder / "new.py").write_text("x = 1\n")
    eks.say(state="finished")
    assert eks.deploy("run", "--yes").exit_code == 0


def test_another_context_before_the_submission_is_a_conflict_once_there_is_a_volume(eks: ClusterProject) -> None:
    eks.say(answers={"create for real": {"error": "permission"}})
    assert eks.deploy("run", "--yes").exit_code == 4
    assert (eks.made()["jobs"], len(eks.made()["claims"])) == ({}, 1)
    eks.say(answers={})
    eks.write_job(cluster={"context": "other", "namespace": "ml"})
    refused = eks.deploy("run", "--yes")
    assert (refused.exit_code, "volume" in refused.error["message"]) == (5, True)


def test_another_context_is_taken_while_nothing_was_made(eks: ClusterProject) -> None:
    eks.say(answers={"ensure-volume": {"error": "permission"}})
    assert eks.deploy("run", "--yes").exit_code == 4
    eks.say(answers={})
    eks.write_job(cluster={"context": "other", "namespace": "ml"})
    assert eks.deploy("run", "--yes", "--detach").exit_code == 0
    assert values(eks.calls("fit")[-1], "context") == ["other"]


def test_a_ray_cluster_is_made_and_then_the_job_is_submitted_to_it(eks: ClusterProject) -> None:
    eks.write_job(engine="raycluster")
    assert eks.deploy("run", "--yes", "--detach").exit_code == 0
    created, submitted = eks.calls("create")[-1], eks.calls("submit")[-1]
    assert (created[0], values(created, "kind"), "--" in created) == ("manage_ray", ["raycluster"], False)
    assert submitted[submitted.index("--") + 1 :] == ["torchrun", "train.py", "--steps", "3"]


def test_dry_run_prints_the_call_and_makes_nothing(eks: ClusterProject) -> None:
    dry = eks.deploy("run", "--dry-run")
    assert dry.exit_code == 0
    assert dry.data["would_call"][:3] == ["manage_pytorchjob.py", "create", "toy"]
    assert (eks.made()["jobs"], eks.run_dir.exists()) == ({}, False)


@pytest.mark.parametrize("skill", ["cluster-manager", "pytorchjob-manager", "checkpoint-manager"])
def test_a_skill_that_is_missing_is_named_and_nothing_is_made(eks: ClusterProject, skill: str) -> None:
    shutil.rmtree(eks.folder / "skills" / skill)
    refused = eks.deploy("run", "--yes")
    assert (refused.exit_code, refused.error["code"], skill in refused.error["message"]) == (8, "dependency", True)
    assert "install.sh" in refused.error["hint"]
    plan = eks.deploy("plan")
    assert (plan.exit_code, plan.check(f"skill.{skill}")["status"]) == (1, "fail")
    assert not eks.calls()


def test_what_another_program_advises_is_passed_on_as_it_was_told(eks: ClusterProject) -> None:
    """The programs name keys of the job file by themselves (tests/skills/kit/test_request.py)."""
    fix = "fewer nodes; cluster.tolerations (--toleration) of the taint; kubectl get nodes --show-labels --context NAME"
    taint = {"id": "node.taint", "status": "fail", "summary": "tainted", "evidence": None, "fix": fix}
    eks.say(answers={"fit": {"code": 1, "checks": [taint]}})
    assert eks.deploy("plan").check("node.taint")["fix"] == fix
    eks.say(answers={})
    eks.deploy("run", "--yes", "--detach")
    larger = "a larger resources.memory (--memory)"
    eks.say(state="pending", findings=[{"id": "memory.out", "summary": "killed", "fix": larger}])
    concerns = {concern["id"]: concern["fix"] for concern in eks.deploy("status").data["concerns"]}
    assert concerns["memory.out"] == larger


@pytest.mark.parametrize(
    ("uri", "status"),
    [
        ("repository@sha256:...", "fail"),
        ("ACCOUNT.dkr.ecr.REGION.amazonaws.com/tiny@sha256:" + "a" * 64, "fail"),
        ("tiny@sha256:" + "a" * 63, "fail"),
        ("Tiny:1", "fail"),
        ("localhost:5000/team/tiny__x:v1.0-RC", "warn"),
        ("123456789012.dkr.ecr.us-west-2.amazonaws.com/team/tiny:1@sha256:" + "a" * 64, "pass"),
    ],
)
def test_a_placeholder_is_no_image(eks: ClusterProject, uri: str, status: str) -> None:
    eks.write_job(image={"uri": uri})
    assert eks.deploy("plan").check("image")["status"] == status
