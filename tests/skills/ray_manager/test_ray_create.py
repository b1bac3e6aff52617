"""What `create` makes: on the real API server with the real KubeRay, pods on pretended nodes."""

from __future__ import annotations

import json

import pytest
from ray_calls import FAKE, OTHER_RUN_ID, RUN_ID, Ray

JOB = ("--", "torchrun", "train.py", "--steps", "5")


def test_a_cluster_is_made_once_and_its_pods_ask_for_what_was_asked(ray: Ray) -> None:
    words = ("--gpus", "8", "--efa", "4", "--cpu", "500m", "--memory", "8Gi", "--shm", "4Gi", "--secret", "HF_TOKEN=hf/token")
    words = (
        *words,
        "--hang",
        "report",
        "--hang-after-s",
        "900",
        "--ray-start",
        "object-store-memory=100000000",
        "--env",
        "NCCL_DEBUG=INFO",
        "--claim",
        "volume",
        *FAKE,
    )
    first = ray.create("twice", *words, nodes=3)
    again = ray.create("twice", *words, nodes=3)
    assert first.exit_code == again.exit_code == 0, first.document
    assert first.document["changed"] and not again.document["changed"]
    assert first.data["uid"] == again.data["uid"]
    spec = ray.get("raycluster", "twice")["spec"]
    assert [group["replicas"] for group in spec["workerGroupSpecs"]] == [2], "the head is one of the three"
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group["rayStartParams"] == {"object-store-memory": "100000000"}, "strings, and nothing that KubeRay injects"
        container = group["template"]["spec"]["containers"][0]
        limits = {"memory": "8Gi", "nvidia.com/gpu": "8", "vpc.amazonaws.com/efa": "4"}
        assert container["resources"] == {"limits": limits, "requests": {**limits, "cpu": "500m"}}
        env = {each["name"]: each.get("value") or each["valueFrom"] for each in container["env"]}
        assert env["TRAINYARD_RUN_DIR"] == f"/trainyard/twice-{RUN_ID}" and env["NCCL_DEBUG"] == "INFO"
        assert (env["TRAINYARD_HANG"], env["TRAINYARD_HANG_AFTER_S"]) == ("report", "900")
        assert env["HF_TOKEN"] == {"secretKeyRef": {"name": "hf", "key": "token"}}
        volumes = {each["name"]: each for each in group["template"]["spec"]["volumes"]}
        assert volumes["trainyard"]["persistentVolumeClaim"] == {"claimName": "volume"}
        assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "4Gi"}
        assert group["template"]["spec"]["automountServiceAccountToken"] is False
        platform = {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}
        assert group["template"]["spec"]["nodeSelector"] == {"type": "kwok", **platform}
        assert group["template"]["metadata"]["labels"]["trainyard.dev/run-id"] == RUN_ID


def test_another_specification_under_that_name_is_refused(ray: Ray) -> None:
    assert ray.create("same", *FAKE).exit_code == 0
    uid = ray.get("raycluster", "same")["metadata"]["uid"]
    assert ray.create("same", *FAKE, "--gpus", "1").exit_code == 5
    assert ray.create("same", *FAKE, run_id=OTHER_RUN_ID).exit_code == 5, "another user's run of the same name"
    assert ray.create("same", *FAKE, *JOB, kind="rayjob").exit_code == 5, "the verbs take one name for both kinds"
    assert ray.get("raycluster", "same")["metadata"]["uid"] == uid


def test_what_somebody_else_made_is_never_touched(ray: Ray) -> None:
    container = {"name": "ray", "image": "any"}
    head = {"rayStartParams": {}, "template": {"spec": {"nodeSelector": {"type": "kwok"}, "containers": [container]}}}
    ray.apply(
        {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "theirs"}, "spec": {"headGroupSpec": head}}
    )
    created = ray.create("theirs", *FAKE)
    deleted = ray("delete", "theirs", "--run-id", RUN_ID, "--yes")
    assert created.exit_code == deleted.exit_code == 5
    assert "not made by trainyard" in deleted.error["message"]
    assert ray("list").data["total"] == 0 and ray("list", "--all").data["total"] == 1
    assert ray.get("raycluster", "theirs")["metadata"]["name"] == "theirs"


def test_one_node_is_a_head_without_workers(ray: Ray) -> None:
    assert ray.create("alone", *FAKE).exit_code == 0
    assert not ray.get("raycluster", "alone")["spec"].get("workerGroupSpecs")


def test_a_rayjob_ends_its_cluster_and_torchrun_stands_for_one_group_over_all_nodes(ray: Ray) -> None:
    made = ray.create(
        "job", *FAKE, "--procs", "8", "--queue", "team", "--", "torchrun", "train.py", "--name", "a b", kind="rayjob", nodes=2
    )
    assert made.exit_code == 0, made.document
    job = ray.get("rayjob", "job")
    assert job["spec"]["entrypoint"] == "python -m trainyard.on_ray --nodes 2 --procs 8 -- train.py --name 'a b'"
    assert job["spec"]["submissionMode"] == "K8sJobMode" and job["spec"]["shutdownAfterJobFinishes"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "team"
    submitter = job["spec"]["submitterPodTemplate"]["spec"]
    assert submitter["containers"][0]["image"] == "fake:1" and submitter["tolerations"], "it must get to where the image is"
    assert "nvidia.com/gpu" not in json.dumps(submitter)


def test_a_dry_run_keeps_nothing_and_lets_the_api_server_judge_the_pods(ray: Ray) -> None:
    good = ray.create("dry", *FAKE, "--dry-run", nodes=2)
    assert good.exit_code == 0 and good.check("pod.accepted")["status"] == "pass"
    assert good.data["manifest"]["kind"] == "RayCluster" and not good.document["changed"]
    bad = ray.create("dry", *FAKE, "--dry-run", "--toleration", '{"operator": "Sometimes"}')
    assert bad.exit_code == 1 and "Sometimes" in bad.check("pod.accepted")["evidence"]
    assert not ray.get("raycluster")["items"] and not ray.get("pods")["items"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("a" * 54, "--kind", "raycluster"), "at most 53"),
        (("a" * 48, "--kind", "rayjob", "--", "true"), "at most 47"),
        (("Upper", "--kind", "raycluster"), "not a valid name"),
        (("x", "--kind", "rayjob"), "needs a command"),
        (("x", "--kind", "raycluster", "--", "true"), "has no command"),
        (("x", "--kind", "raycluster", "--env", "HF_TOKEN=abc"), "looks like a secret"),
        (("x", "--kind", "raycluster", "--env", "TRAINYARD_RUN_ID=1"), "is set by this program"),
        (("x", "--kind", "raycluster", "--memory", "8 gigs"), "not a quantity"),
        (("x", "--kind", "raycluster", "--memory", "100m"), "fractions of a byte"),
        (("x", "--kind", "raycluster", "--shm", "0.5"), "a fraction of a byte"),
        (("x", "--kind", "raycluster", "--ray-version", "2"), "no version of Ray"),
        (("x", "--kind", "raycluster", "--toleration", "kwok"), "no toleration"),
        (("x", "--kind", "raycluster", "--run-id", "123"), "not a run id"),
    ],
)
def test_wrong_words_are_refused_before_the_first_call(shared_ray: Ray, words: tuple[str, ...], expected: str) -> None:
    name, *rest = words
    answer = shared_ray("create", name, "--run-id", RUN_ID, "--nodes", "1", *FAKE, *rest)
    assert answer.exit_code == 2 and expected in answer.error["message"] + answer.error["hint"]


def test_the_version_of_ray_is_read_from_the_tag_or_said_to_be_a_guess(shared_ray: Ray) -> None:
    words = ("--kind", "raycluster", "--run-id", RUN_ID, "--nodes", "1", "--dry-run")
    told = shared_ray("create", "v", *words, "--image", "rayproject/ray:2.49.1-py311-gpu")
    assert told.data["manifest"]["spec"]["rayVersion"] == "2.49.1" and "ray.version" not in {
        check["id"] for check in told.document["checks"]
    }
    guessed = shared_ray("create", "v", *words, "--image", "repo/train:latest")
    assert guessed.check("ray.version")["status"] == "warn"


def test_words_that_an_older_ray_takes_apart_are_warned_of(shared_ray: Ray) -> None:
    words = ("--kind", "rayjob", "--run-id", RUN_ID, "--nodes", "1", "--dry-run", "--image", "ray:2.49.1")
    assert shared_ray("create", "q", *words, "--", "python", "-c", "print(1)").check("ray.quoting")["status"] == "warn"
    plain = shared_ray("create", "q", *words, "--", "python", "train.py", "--lr=0.1")
    assert "ray.quoting" not in {check["id"] for check in plain.document["checks"]}


def test_a_job_of_128_nodes_is_made_watched_and_removed(ray: Ray) -> None:
    assert ray.create("many", *FAKE, nodes=128).exit_code == 0
    ready = ray("wait", "many", "--timeout", "120")
    assert ready.exit_code == 0, ready.document
    assert ready.data["nodes"] == {"wanted": 128, "running": 128, "ready": 128}
    seen = ray("status", "many", "--limit", "10")
    assert len(seen.data["pods"]) == 10 and seen.document["truncated"]
    assert [pod["role"] for pod in seen.data["pods"]] == ["head", *["worker"] * 9]
    planned = ray("delete", "many", "--run-id", RUN_ID)
    assert planned.exit_code == 6 and len(planned.data["pods"]) == 100
    gone = ray("delete", "many", "--run-id", RUN_ID, "--yes")
    assert gone.exit_code == 0 and gone.document["changed"] == ["RayCluster many deleted"]
    assert not ray.get("pods")["items"]
    again = ray("delete", "many", "--run-id", RUN_ID, "--yes")
    assert again.exit_code == 0 and not again.document["changed"]
    assert ray("status", "many").exit_code == 3
