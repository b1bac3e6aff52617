"""Whose a thing is: --run-id on every verb that looks, on `submit`, and what may not be read is not taken for absent."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from ray_calls import FAKE, HEAD, OTHER_RUN_ID, PROGRAM, RUN_ID, Ray, rule

EVAL = ("--", "python", "eval.py")
RUNNING = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}
LOOKS = [
    ("status",),
    ("wait", "--timeout", "20"),
    ("logs",),
    ("logs", "--follow", "--timeout", "2"),
    ("logs", "--rank", "0"),
    ("verify-gpus", "--timeout", "5"),
]


def looks(verb: tuple[str, ...], name: str, *words: str) -> tuple[str, ...]:
    return (verb[0], name, *verb[1:], *words)


def applied_by_somebody(ray: Ray, name: str) -> None:
    """A RayCluster that no run owns, and nobody's to reconcile."""
    spec = {"managedBy": "kueue.x-k8s.io/multikueue", "headGroupSpec": HEAD}
    ray.apply({"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name}, "spec": spec})


# --- looking -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", LOOKS, ids=" ".join)
def test_an_object_of_another_run_is_not_told_of(shared_ray: Ray, fake_cluster: str, verb: tuple[str, ...]) -> None:
    refused = shared_ray(*looks(verb, fake_cluster, "--run-id", OTHER_RUN_ID))
    assert refused.exit_code == 5 and f"belongs to run {RUN_ID}" in refused.error["message"], refused.document
    assert not refused.stream


@pytest.mark.parametrize("verb", LOOKS, ids=" ".join)
def test_an_object_that_nobody_of_trainyard_made_is_no_runs(shared_ray: Ray, verb: tuple[str, ...]) -> None:
    applied_by_somebody(shared_ray, "strange")
    refused = shared_ray(*looks(verb, "strange", "--run-id", RUN_ID))
    assert refused.exit_code == 5 and "not made by trainyard" in refused.error["message"], refused.document


def test_of_two_kinds_under_one_name_the_runs_own_is_meant(ray: Ray) -> None:
    assert ray.create("both", *FAKE).exit_code == 0
    ray.put_job("both", RUNNING, OTHER_RUN_ID)
    assert ray("status", "both").data["kind"] == "rayjob", "without a run id the RayJob goes first"
    ready = ray("wait", "both", "--run-id", RUN_ID, "--timeout", "60")
    assert (ready.exit_code, ready.data["kind"], ready.data["run_id"]) == (0, "raycluster", RUN_ID), ready.document
    theirs = ray("wait", "both", "--run-id", OTHER_RUN_ID, "--timeout", "2")
    assert (theirs.exit_code, theirs.data["kind"]) == (7, "rayjob")
    again = ray.create("both", *FAKE)
    assert again.exit_code == 0 and not again.document["changed"], "somebody's RayJob does not make ours another one"
    gone = ray("delete", "both", "--run-id", RUN_ID, "--yes")
    assert gone.document["changed"] == ["RayCluster both deleted"]
    assert ray.get("rayjob", "both")["metadata"]["name"] == "both"


GET_CLUSTERS, GET_JOBS = rule("ray.io", "rayclusters", "get"), rule("ray.io", "rayjobs", "get")
PODS = rule("", "pods", "list")


def test_what_may_not_be_read_is_not_taken_for_absent(shared_ray: Ray, fake_cluster: str) -> None:
    no_jobs, no_clusters = shared_ray.may("no-jobs", GET_CLUSTERS, PODS), shared_ray.may("no-clusters", GET_JOBS, PODS)
    for user, missing in ((no_jobs, GET_JOBS), (no_clusters, GET_CLUSTERS)):
        for words in (("none",), ("none", "--run-id", RUN_ID)):
            refused = user("status", *words)
            assert (refused.exit_code, json.dumps(missing) in refused.error["hint"]) == (4, True), refused.document
    assert no_clusters("status", fake_cluster).exit_code == 4, "it is there, and may not be read"


def test_a_kind_that_is_named_is_the_only_one_that_is_read(shared_ray: Ray, fake_cluster: str) -> None:
    no_jobs = shared_ray.may("no-jobs", GET_CLUSTERS, PODS)
    assert no_jobs("status", "none", "--kind", "raycluster").exit_code == 3
    assert no_jobs("status", fake_cluster, "--kind", "raycluster").exit_code == 0
    found = no_jobs("status", fake_cluster, "--run-id", RUN_ID)
    assert found.exit_code == 0, "it is the run's: there is no other to look for"


# --- submitting --------------------------------------------------------------------------------------------------


def test_a_runs_cluster_takes_jobs_from_that_run_alone(shared_ray: Ray, fake_cluster: str) -> None:
    for words in (("--dry-run",), ("--submission-id", "eval-1"), ("--submission-id", "eval-1", "--dry-run")):
        nobody = shared_ray("submit", fake_cluster, *words, *EVAL)
        assert nobody.exit_code == 2 and "--run-id" in nobody.error["hint"], nobody.document
        assert "manage_ray.py list" in nobody.error["hint"] and "run.json" in nobody.error["hint"]
        assert shared_ray("submit", fake_cluster, "--run-id", OTHER_RUN_ID, *words, *EVAL).exit_code == 5
    told = shared_ray("submit", fake_cluster, "--run-id", RUN_ID, "--dry-run", *EVAL)
    assert told.exit_code == 0 and told.data["submission_id"] == f"{fake_cluster}-{RUN_ID[:8]}"
    assert not shared_ray.notes(fake_cluster)


def test_a_cluster_of_no_run_takes_jobs_under_an_id(shared_ray: Ray) -> None:
    applied_by_somebody(shared_ray, "nobodys")
    told = shared_ray("submit", "nobodys", "--submission-id", "eval-1", "--dry-run", *EVAL)
    assert told.exit_code == 0 and told.data["submission_id"] == "eval-1", told.document
    assert shared_ray("submit", "nobodys", "--dry-run", *EVAL).exit_code == 2, "there is no run to name a job after"
    assert shared_ray("submit", "nobodys", "--run-id", RUN_ID, "--submission-id", "eval-1", *EVAL).exit_code == 5


def test_a_job_that_ray_did_not_take_is_not_noted(shared_ray: Ray, fake_cluster: str) -> None:
    """On a pretended node no Ray answers. A note would make `status` say that Ray has forgotten the job, and so that it failed."""
    refused = shared_ray("submit", fake_cluster, "--run-id", RUN_ID, *EVAL)
    assert refused.exit_code in (2, 8), refused.document  # 2: not even Python is on that node's path
    assert not shared_ray.notes(fake_cluster)


def test_who_may_not_note_a_job_starts_none(shared_ray: Ray, fake_cluster: str) -> None:
    user = shared_ray.may("no-notes", rule("ray.io", "rayclusters rayjobs", "get"), PODS, rule("", "pods/exec", "get create"))
    refused = user("submit", fake_cluster, "--run-id", RUN_ID, *EVAL)
    assert refused.exit_code == 4 and json.dumps(rule("ray.io", "rayclusters", "patch")) in refused.error["hint"]


NOTE = """
import sys
import ray_objects, ray_submit, trainyard_kube, trainyard_shell
cluster = trainyard_kube.connect(trainyard_kube.Where(namespace=sys.argv[1]))
_, thing = ray_objects.find(cluster, "replaced", "raycluster")
print("looked", flush=True)
sys.stdin.readline()
for dry_run in (True, False):
    try:
        ray_submit.note(cluster, thing, "eval-1", dry_run=dry_run)
    except trainyard_shell.SkillError as error:
        print(error.code, error)
"""


def test_a_cluster_that_took_the_name_since_it_was_looked_at_is_not_noted_on(ray: Ray) -> None:
    assert ray.create("replaced", *FAKE).exit_code == 0
    environment = {**os.environ, "KUBECONFIG": str(ray.cluster.kubeconfig), "PYTHONPATH": str(PROGRAM.parent)}
    words, pipe = [sys.executable, "-c", NOTE, ray.namespace], subprocess.PIPE
    with subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, text=True) as late:
        assert late.stdout is not None and late.stdout.readline() == "looked\n"
        assert ray("delete", "replaced", "--run-id", RUN_ID, "--yes").exit_code == 0
        assert ray.create("replaced", *FAKE, run_id=OTHER_RUN_ID).exit_code == 0
        said, _ = late.communicate("\n", timeout=60)
    assert said.count("conflict rayclusters/replaced was deleted or replaced") == 2, said
    assert not ray.notes("replaced")
