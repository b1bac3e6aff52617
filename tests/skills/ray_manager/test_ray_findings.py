"""What goes wrong, and what `status` and the errors say about it: real scheduler, real kubelet, real quota, real RBAC."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from ray_calls import FAKE, RUN_ID, Ray, rule

RAY_RULE = rule("ray.io", "rayclusters rayjobs", "get list create delete patch")
PODS, EVENTS = rule("", "pods", "get list"), rule("", "events", "list")
DEADLINE_S = 40


# 127.0.0.1:1 refuses at once; a name would have to be looked up first
STUCK = {
    "image": (
        ("--image", "127.0.0.1:1/nowhere:1", "--node-selector", "type=real"),
        "image.unreachable",
        "127.0.0.1:1/nowhere:1",
    ),
    "secret": (
        ("--image", "local.test/ray:1", "--node-selector", "type=real", "--secret", "T=none/key"),
        "container.config",
        "none",
    ),
    "gpus": (("--image", "a:1", "--node-selector", "type=real", "--gpus", "8"), "node.resource", "nvidia.com/gpu"),
    "taint": (("--image", "a:1", "--node-selector", "type=kwok"), "node.taint", "untolerated"),
    "selector": (("--image", "a:1", "--node-selector", "type=none"), "node.selector", "selector"),
    "claim": (("--image", "a:1", "--node-selector", "type=real", "--claim", "no-such"), "volume.missing", "no-such"),
}


@pytest.fixture(scope="module")
def stuck(shared_ray: Ray) -> Ray:
    """All of them at once: kubelet and scheduler take their time."""
    for name, (words, _, _) in STUCK.items():
        made = shared_ray.create(f"stuck-{name}", "--ray-version", "2.60.0", *words)
        assert made.exit_code == 0, made.document
    return shared_ray


def finding(ray: Ray, name: str, id: str) -> dict[str, str]:
    """Waits until `status` tells of it."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        seen = ray("status", name, "--kind", "raycluster")
        assert seen.exit_code == 0, seen.document
        if id in seen.findings() or time.monotonic() > deadline:
            return dict(seen.findings()[id])
        time.sleep(0.5)


@pytest.mark.parametrize("name", STUCK)
def test_a_pod_that_cannot_start_is_told_with_its_cause(stuck: Ray, name: str) -> None:
    _, id, told = STUCK[name]
    found = finding(stuck, f"stuck-{name}", id)
    assert told in found["summary"] and found["fix"]


def test_events_that_may_not_be_read_are_told_beside_what_the_pods_say(stuck: Ray) -> None:
    finding(stuck, "stuck-selector", "node.selector")
    seen = stuck.may("no-events", RAY_RULE, PODS)("status", "stuck-selector", "--kind", "raycluster")
    assert seen.exit_code == 0 and list(seen.findings()) == ["node.selector", "node.taint", "events.unknown"]
    assert json.dumps(rule("", "events", "list")) in seen.findings()["events.unknown"]["fix"]


def test_waiting_for_what_is_stuck_ends_with_what_to_do(stuck: Ray) -> None:
    fix = finding(stuck, "stuck-claim", "volume.missing")["fix"]
    late = stuck("wait", "stuck-claim", "--kind", "raycluster", "--timeout", "1")
    assert late.exit_code == 7 and late.error["hint"] == fix


def test_a_head_that_is_not_ready_can_be_asked_again_later(stuck: Ray) -> None:
    refused = stuck("exec", "stuck-selector", "--kind", "raycluster", "--", "true")
    assert refused.exit_code == 7 and refused.error["retryable"]
    assert "head of stuck-selector is not ready" in refused.error["message"]


def test_pods_over_the_quota_are_told_though_no_pod_exists(ray: Ray) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    ray.apply(quota)
    deadline = time.monotonic() + 20  # until the quota controller has counted
    while not ray.get("resourcequota", "few").get("status", {}).get("hard") and time.monotonic() < deadline:
        time.sleep(0.2)
    assert ray.create("over", *FAKE, "--dry-run").check("pod.accepted")["status"] == "fail"
    assert ray.create("over", *FAKE).exit_code == 0
    assert "exceeded quota: few" in finding(ray, "over", "quota")["summary"]
    blind = ray.may("no-events", RAY_RULE, PODS, rule("ray.io", "rayclusters rayjobs", "watch"))
    late = blind("wait", "over", "--kind", "raycluster", "--timeout", "1")
    assert [each["id"] for each in late.data["findings"]] == ["events.unknown"]
    assert "manage_ray.py status over" in late.error["hint"], "a rule is no answer to a wait that was too short"


def test_a_cluster_that_kuberay_refuses_is_told_in_its_words(ray: Ray) -> None:
    node = {"rayStartParams": {}, "template": {"spec": {"containers": [{"name": "ray", "image": "any:1"}]}}}
    workers = {"groupName": "nodes", "replicas": 1, "minReplicas": 3, "maxReplicas": 1, **node}
    spec = {"headGroupSpec": node, "workerGroupSpecs": [workers]}
    ray.apply({"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "wrong"}, "spec": spec})
    assert "minReplicas 3 greater than maxReplicas 1" in finding(ray, "wrong", "ray.refused")["summary"]


GET_RAY = rule("ray.io", "rayclusters rayjobs", "get")
CREATE = ("create", "new", "--kind", "raycluster", "--run-id", RUN_ID, "--nodes", "1", *FAKE)


@pytest.mark.parametrize(
    ("verb", "rules", "missing"),
    [
        (CREATE, [GET_RAY], rule("ray.io", "rayclusters", "create")),
        (("delete", "pretended", "--run-id", RUN_ID, "--yes"), [GET_RAY, PODS], rule("ray.io", "rayclusters", "delete")),
        (("exec", "pretended", "--", "true"), [GET_RAY, PODS], rule("", "pods/exec", "get create")),
        (("status", "pretended"), [PODS], rule("ray.io", "rayjobs", "get")),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_missing_permission_is_named_with_the_rule_that_allows_it(
    shared_ray: Ray, fake_cluster: str, verb: tuple[str, ...], rules: list[dict[str, Any]], missing: dict[str, Any]
) -> None:
    refused = shared_ray.may(f"cannot-{verb[0]}", *rules)(*verb)
    assert refused.exit_code == 4 and refused.error["code"] == "permission", refused.document
    assert json.dumps(missing) in refused.error["hint"]
    assert shared_ray.get("raycluster", fake_cluster)["metadata"]["name"] == fake_cluster


def test_what_may_not_be_read_is_unknown_and_never_healthy(shared_ray: Ray, fake_cluster: str) -> None:
    blind = shared_ray.may("blind", RAY_RULE)("status", fake_cluster)
    assert blind.exit_code == 1 and blind.check("pods")["status"] == "unknown"
    assert json.dumps(rule("", "pods", "list")) in blind.check("pods")["fix"]
    half = shared_ray.may("half", rule("ray.io", "rayclusters", "list"))("list")
    assert half.exit_code == 1 and half.check("rayjob")["status"] == "unknown"
    assert fake_cluster in [row["name"] for row in half.data["jobs"]]


@pytest.mark.parametrize(("code", "reason", "causes"), [(1, "Error", []), (137, "OOMKilled", ["memory.out"])])
def test_of_what_came_back_only_a_lack_of_memory_is_told(
    shared_ray: Ray, fake_cluster: str, code: int, reason: str, causes: list[str]
) -> None:
    """It will be killed for memory again; the node itself is whole, so no event is read either."""
    worker = shared_ray("status", fake_cluster).data["pods"][1]["name"]
    before = {"terminated": {"exitCode": code, "reason": reason, "startedAt": None, "finishedAt": None}}
    patch = {"status": {"containerStatuses": [{"name": "ray", "restartCount": 1, "lastState": before}]}}
    words = ("patch", "pod", worker, "--namespace", shared_ray.namespace, "--subresource=status", "--type=strategic", "--patch")
    shared_ray.cluster.kubectl(*words, json.dumps(patch))
    seen = shared_ray("status", fake_cluster)
    assert seen.data["pods"][1]["restarts"] == 1 and list(seen.findings()) == causes


def test_the_documented_rules_are_enough(shared_ray: Ray, fake_cluster: str) -> None:
    user = shared_ray.may(
        "documented", RAY_RULE, PODS, rule("", "pods/log", "get"), rule("", "pods/exec", "get create"), EVENTS
    )
    calls = [
        ("status", fake_cluster),
        ("list",),
        CREATE,
        ("delete", "new", "--run-id", RUN_ID, "--yes"),
        ("logs", fake_cluster, "--rank", "0"),
    ]
    for verb in calls:
        done = user(*verb)
        assert done.exit_code == 0, done.document


def test_following_a_log_ends_with_its_time_and_repeats_nothing(shared_ray: Ray, fake_cluster: str) -> None:
    once = shared_ray("logs", fake_cluster, "--rank", "1").data["lines"]
    begun = time.monotonic()
    followed = shared_ray("logs", fake_cluster, "--rank", "1", "--follow", "--timeout", "5")
    assert time.monotonic() - begun < 30, "it looks at the clock though no line comes"
    assert [f"[{each['rank']}] {each['line']}" for each in followed.stream] == once and once


def test_a_name_that_does_not_exist_is_not_found(shared_ray: Ray) -> None:
    for verb in (("status", "none"), ("exec", "none", "--", "true")):
        assert shared_ray(*verb).exit_code == 3


def test_another_cluster_than_the_runs_is_refused(shared_ray: Ray) -> None:
    assert shared_ray("status", "none", "--cluster-id", "0000000000000000").exit_code == 5
