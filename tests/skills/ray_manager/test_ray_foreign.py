"""RayClusters that others made: containers of any name, groups of any size, names of any length. Pods on pretended nodes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from ray_calls import HEAD, OTHER_RUN_ID, RUN_ID, Ray

from tests.components.cluster.nodes import FAKE_SELECTOR, FAKE_TOLERATION

THEIRS = "t" * 53
"""As long as KubeRay takes it."""
MANAGED_ELSEWHERE = {"managedBy": "kueue.x-k8s.io/multikueue", "headGroupSpec": HEAD}
"""Nobody reconciles it: an object without pods."""


def ray_cluster(name: str, spec: dict[str, Any] = MANAGED_ELSEWHERE, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": name, **metadata}, "spec": spec}


def node(*containers: str) -> dict[str, Any]:
    pod = {"containers": [{"name": name, "image": "any:1"} for name in containers]}
    return {
        "rayStartParams": {},
        "template": {"spec": {**pod, "nodeSelector": FAKE_SELECTOR, "tolerations": [FAKE_TOLERATION]}},
    }


GROUPS: dict[str, list[dict[str, Any]]] = {
    THEIRS: [
        {"groupName": "least", "minReplicas": 2, "maxReplicas": 4},
        {"groupName": "most", "replicas": 9, "minReplicas": 0, "maxReplicas": 1},
    ],
    "asleep": [
        {"groupName": "hosts", "replicas": 1, "minReplicas": 0, "maxReplicas": 2, "numOfHosts": 2},
        {"groupName": "idle", "replicas": 3, "minReplicas": 3, "maxReplicas": 3, "suspend": True},
    ],
}
WANTED = {THEIRS: 1 + 2 + 1, "asleep": 1 + 2}


@pytest.fixture(scope="module")
def theirs(shared_ray: Ray) -> Ray:
    """Two clusters: one with Ray's autoscaler, which is a container of the head too, and one with a suspended group."""
    for name, groups in GROUPS.items():
        workers = [{**group, **node("ray-worker", "logs")} for group in groups]
        scaled = {"enableInTreeAutoscaling": name == THEIRS}
        shared_ray.apply(ray_cluster(name, {**scaled, "headGroupSpec": node("ray-head", "logs"), "workerGroupSpecs": workers}))
    for name in GROUPS:
        ready = shared_ray("wait", name, "--ready", "--timeout", "90")
        assert ready.exit_code == 0, ready.document
    return shared_ray


@pytest.mark.situation("S33", "a RayCluster with Ray's autoscaler, replicas left out", "as many wanted nodes as KubeRay counts")
@pytest.mark.parametrize("name", GROUPS)
def test_nodes_are_counted_as_kuberay_counts_them(theirs: Ray, name: str) -> None:
    seen = theirs("status", name)
    assert seen.data["nodes"] == dict.fromkeys(("wanted", "running", "ready"), WANTED[name])
    desired = theirs.get("raycluster", name)["status"]["desiredWorkerReplicas"]
    assert desired == WANTED[name] - 1, "the control: KubeRay's own count"


@pytest.mark.situation("S33", "a RayCluster with Ray's autoscaler, replicas left out", "as many wanted nodes as KubeRay counts")
@pytest.mark.parametrize(
    "spec",
    [
        {"rayClusterSpec": {"enableInTreeAutoscaling": True, "headGroupSpec": HEAD}},
        {"clusterSelector": {"ray.io/cluster": "grown"}},
    ],
    ids=["autoscaler", "selector"],
)
def test_a_rayjob_wants_what_its_cluster_wants(ray: Ray, spec: dict[str, Any]) -> None:
    """Ray's autoscaler changes the cluster, and the job's copy stands still; beside a clusterSelector there is none."""
    workers = [{"groupName": "some", "replicas": 5, "minReplicas": 0, "maxReplicas": 9, **node("ray-worker")}]
    ray.apply(ray_cluster("grown", {**MANAGED_ELSEWHERE, "workerGroupSpecs": workers}))
    status = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING", "rayClusterName": "grown"}
    ray.put("RayJob", "grows", {"entrypoint": "true", **spec}, status)
    assert ray("status", "grows").data["nodes"]["wanted"] == 6


@pytest.mark.situation("S34", "a RayCluster with a suspended worker group", "the group is suspended; its nodes are not wanted")
def test_a_suspended_group_is_told(theirs: Ray) -> None:
    assert "idle (3 nodes)" in theirs("status", "asleep").findings()["ray.group-suspended"]["summary"]
    assert "ray.group-suspended" not in theirs("status", THEIRS).findings()


@pytest.mark.situation("S35", "a RayCluster whose containers have other names", "every verb finds the Ray container")
def test_the_ray_container_is_found_whatever_its_name(theirs: Ray) -> None:
    """What runs in such containers: test_ray_played.py."""
    assert theirs("status", THEIRS).data["container"] == "ray-head"
    told = theirs("exec", THEIRS, "--dry-run", "--", "true")
    assert (told.exit_code, told.data["container"]) == (0, "ray-head"), told.document
    for rank in ("0", "1"):
        assert theirs("logs", THEIRS, "--rank", rank).exit_code == 0
    assert theirs("submit", THEIRS, "--submission-id", "a", "--dry-run", "--", "true").exit_code == 0


@pytest.mark.situation("S35", "a RayCluster whose containers have other names", "every verb finds the Ray container")
def test_an_injected_sidecar_in_front_is_not_taken_for_ray(ray: Ray) -> None:
    """As Istio's, which starts before all others; KubeRay writes its command into the container that was the first of the template."""
    ray.apply(ray_cluster("meshed"))
    marks = {"ray.io/cluster": "meshed", "ray.io/is-ray-node": "yes", "ray.io/node-type": "head", "ray.io/group": "headgroup"}
    pod = node("istio-proxy", "my-ray")["template"]["spec"]
    pod["containers"][1]["env"] = [{"name": "KUBERAY_GEN_RAY_START_CMD", "value": "ray start --head"}]
    ray.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "meshed-head", "labels": marks}, "spec": pod})
    ray.cluster.kubectl("wait", "--for=condition=Ready", "pod/meshed-head", "--namespace", ray.namespace, "--timeout=30s")
    assert ray("exec", "meshed", "--dry-run", "--", "true").data["container"] == "my-ray"


def test_torchrun_goes_to_the_nodes_with_gpus(shared_ray: Ray) -> None:
    """One place a node, and a head without GPUs has none: the driver would wait for it for ever."""
    gpus = node("ray-worker")
    gpus["template"]["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "8"}}
    workers = [
        {"groupName": "cpus", "replicas": 1, "minReplicas": 0, "maxReplicas": 1, **node("ray-worker")},
        {"groupName": "gpus", "replicas": 2, "minReplicas": 0, "maxReplicas": 2, **gpus},
    ]
    shared_ray.apply(ray_cluster("mixed", {**MANAGED_ELSEWHERE, "workerGroupSpecs": workers}))
    told = shared_ray("submit", "mixed", "--submission-id", "a", "--dry-run", "--", "torchrun", "train.py")
    assert told.data["command"][3:] == ["--nodes", "2", "--procs", "8", "--", "train.py"]


# --- names and lists ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n" * 54, "n" * 64, "a.name.with.dots", "0-digit", "s" * 253])
def test_a_name_that_only_kubernetes_takes_is_shown(shared_ray: Ray, name: str) -> None:
    shared_ray.apply(ray_cluster(name))
    seen = shared_ray("status", name)
    assert (seen.exit_code, seen.data["name"], seen.data["pods"]) == (0, name, []), seen.document


def test_a_name_of_ours_that_is_too_long_is_told_with_its_limit(shared_ray: Ray) -> None:
    refused = shared_ray.create("n" * 48, "--image", "any:1", "--", "true", kind="rayjob")
    assert refused.exit_code == 2 and "has 48 characters" in refused.error["message"], refused.document
    assert "a RayJob of at most 47" in refused.error["message"]
    wrong = shared_ray.create("Upper", "--image", "any:1")
    assert wrong.exit_code == 2 and "characters" not in wrong.error["message"] + wrong.error["hint"]
    unheard = shared_ray("status", "n" * 254)
    assert unheard.exit_code == 2 and "253 characters" in unheard.error["message"]


def test_a_list_counts_what_it_leaves_out(ray: Ray) -> None:
    for number in range(3):
        ray.put_job(f"ours-{number}", {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})
    job = {"apiVersion": "ray.io/v1", "kind": "RayJob", "name": "ours-0", "uid": ray.get("rayjob", "ours-0")["metadata"]["uid"]}
    ray.apply(ray_cluster("theirs"), ray_cluster("ours-0-abcde", ownerReferences=[job]))
    seen = ray("list", "--limit", "2")
    assert (seen.data["total"], len(seen.data["jobs"]), seen.document["truncated"]) == (3, 2, True)
    assert seen.data["hidden"] == {"made_by_others": 1, "clusters_of_rayjobs": 1, "beyond_limit": 1}
    assert [line for line in seen.document["next"] if "--all" in line], seen.document
    everything = ray("list", "--all")
    assert (
        everything.data["total"] == 4 and everything.data["hidden"]["made_by_others"] == 0 and not everything.document["next"]
    )


# --- what is being deleted ---------------------------------------------------------------------------------------

KEPT_BY = "trainyard.test/keeps-it"


@pytest.fixture(scope="module")
def going(shared_ray: Ray) -> Iterator[Ray]:
    """A RayCluster of ours, one of others and a finished RayJob, deleted and held by a finalizer."""
    shared_ray.put("RayCluster", "going", {"headGroupSpec": HEAD}, {})
    shared_ray.apply(ray_cluster("going-theirs"))
    shared_ray.put_job("going-job", {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"})
    things = ["raycluster/going", "raycluster/going-theirs", "rayjob/going-job"]
    for thing in things:
        hold(shared_ray, thing, KEPT_BY)
    shared_ray.cluster.kubectl("delete", *things, "--namespace", shared_ray.namespace, "--wait=false")
    yield shared_ray
    for thing in things:
        hold(shared_ray, thing)


def hold(ray: Ray, thing: str, *finalizers: str) -> None:
    held = '{"metadata": {"finalizers": [' + ", ".join(f'"{each}"' for each in finalizers) + "]}}"
    ray.cluster.kubectl("patch", thing, "--namespace", ray.namespace, "--type=merge", "--patch", held)


DELETING = ("S20", "a RayCluster or RayJob that is being deleted", "deleting, and what holds it; nothing is submitted or run")


@pytest.mark.situation(*DELETING)
@pytest.mark.parametrize("name", ["going", "going-theirs", "going-job"])
def test_what_is_being_deleted_is_told_by_status_and_wait(going: Ray, name: str) -> None:
    seen = going("status", name)
    assert (seen.exit_code, seen.data["state"]) == (0, "deleting") and KEPT_BY in seen.data["reason"], seen.document
    assert next(iter(seen.findings())) == "job.deleting"
    late = going("wait", name, "--timeout", "1")
    assert late.exit_code == 7 and "deleting" in late.error["message"] and KEPT_BY in late.error["message"]
    assert name in [row["name"] for row in going("list", "--all").data["jobs"] if row["state"] == "deleting"]


@pytest.mark.situation(*DELETING)
@pytest.mark.parametrize(
    "verb",
    [
        ("submit", "going", "--run-id", RUN_ID, "--", "true"),
        ("submit", "going", "--run-id", RUN_ID, "--dry-run", "--", "true"),
        ("submit", "going-theirs", "--submission-id", "a", "--", "true"),
        ("exec", "going", "--", "true"),
        ("exec", "going-job", "--", "true"),
        ("verify-gpus", "going"),
        ("create", "going", "--kind", "raycluster", "--run-id", RUN_ID, "--image", "any:1"),
    ],
    ids=" ".join,
)
def test_nothing_is_run_on_what_is_being_deleted(going: Ray, verb: tuple[str, ...]) -> None:
    refused = going(*verb)
    assert refused.exit_code == 5 and "being deleted" in refused.error["message"], refused.document


@pytest.mark.situation(*DELETING)
def test_a_wait_for_what_is_being_deleted_ends_when_it_is_gone(ray: Ray) -> None:
    ray.put_job("leaves", {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}, OTHER_RUN_ID)
    hold(ray, "rayjob/leaves", KEPT_BY)
    ray.cluster.kubectl("delete", "rayjob/leaves", "--namespace", ray.namespace, "--wait=false")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(ray, "wait", "leaves", "--timeout", "60")
        time.sleep(1.5)
        assert not waiting.done(), "it waits while it is being deleted"
        hold(ray, "rayjob/leaves")
    ended = waiting.result()
    assert ended.exit_code == 3 and "leaves: deleting" in ended.stderr, ended.document
    assert "was deleted while it was waited for; before that it was running" in ended.error["message"]
