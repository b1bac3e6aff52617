"""The test cluster itself: it is a real one, and it leaves nothing behind."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.components.cluster import build
from tests.components.cluster.leftovers import leftovers
from tests.components.cluster.needs import reason_against
from tests.components.cluster.nodes import FLEET
from tests.components.cluster.running import Cluster, temporary_cluster
from tests.components.cluster.status import recorded

pytestmark = pytest.mark.when_changed("tests/components/**/*")  # a proof about these alone: the tests that use it are others
EXAMPLES = Path(__file__).parent / "cluster" / "examples"
PODS_READER = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
NODES_READER = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]


def apply_example(cluster: Cluster, name: str, namespace: str) -> None:
    cluster.apply([yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())], "--namespace", namespace)


def wait(cluster: Cluster, namespace: str, what: str, condition: str, timeout_s: int = 60) -> None:
    cluster.kubectl(
        "wait", f"--for={condition}", what, "--namespace", namespace, f"--timeout={timeout_s}s", timeout_s=timeout_s + 10
    )


def pods_on_nodes(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Pod -> instance type of its node; only pods that run or ran."""
    types = {
        node["metadata"]["name"]: node["metadata"]["labels"]["node.kubernetes.io/instance-type"]
        for node in cluster.get("nodes")["items"]
    }
    pods = cluster.get("pods", "", "--namespace", namespace)["items"]
    return {
        pod["metadata"]["name"]: types[pod["spec"]["nodeName"]]
        for pod in pods
        if pod["status"]["phase"] in ("Running", "Succeeded")
    }


def refusal(cluster: Cluster, *words: str, user: Path) -> str:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        cluster.kubectl(*words, user=user)
    return str(caught.value.stderr)


def test_every_process_lives_and_every_node_is_ready(cluster: Cluster) -> None:
    assert set(recorded(cluster.place)) >= {
        "etcd",
        "kube-apiserver",
        "kubelet",
        "containerd",
        "coredns",
        "kwok",
        *build.OPERATORS,
    }
    assert all(recorded(cluster.place).values())
    nodes = cluster.get("nodes")["items"]
    ready = [node for node in nodes if {"type": "Ready", "status": "True"}.items() <= conditions(node)["Ready"].items()]
    assert len(ready) == len(nodes) == 1 + cluster.nodes_a_type * len(FLEET)


def conditions(node: dict[str, dict[str, list[dict[str, str]]]]) -> dict[str, dict[str, str]]:
    return {condition["type"]: condition for condition in node["status"]["conditions"]}


@pytest.mark.parametrize(
    ("instance_type", "resource", "count"),
    [
        ("ml.g5.8xlarge", "nvidia.com/gpu", "1"),
        ("p4d.24xlarge", "vpc.amazonaws.com/efa", "4"),
        ("ml.p5.48xlarge", "vpc.amazonaws.com/efa", "32"),
        ("trn1.32xlarge", "aws.amazon.com/neuroncore", "32"),
    ],
)
def test_pretended_nodes_offer_their_devices_in_two_zones(
    cluster: Cluster, instance_type: str, resource: str, count: str
) -> None:
    nodes = cluster.get("nodes", "", f"--selector=node.kubernetes.io/instance-type={instance_type}")["items"]
    assert {node["status"]["allocatable"][resource] for node in nodes} == {count}
    assert {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in nodes} == {"us-west-2a", "us-west-2b"}
    hyperpod = {node["metadata"]["labels"].get("sagemaker.amazonaws.com/compute-type") for node in nodes}
    assert hyperpod == ({"hyperpod"} if instance_type.startswith("ml.") else {None})


def test_a_pod_on_the_real_node_runs_and_its_log_is_read(cluster: Cluster, namespace: str) -> None:
    apply_example(cluster, "pod", namespace)
    wait(cluster, namespace, "pod/hello", "jsonpath={.status.phase}=Succeeded")
    assert cluster.kubectl("logs", "hello", "--namespace", namespace) == "hello from hello\n"


def test_a_pytorchjob_gets_pods_on_pretended_nodes_that_serve_logs_and_exec_and_ends(cluster: Cluster, namespace: str) -> None:
    apply_example(cluster, "pytorchjob", namespace)
    wait(cluster, namespace, "pytorchjob/pretended", "condition=Running")
    wait(cluster, namespace, "pod/pretended-worker-1", "condition=Ready")
    assert "step 200 loss" in cluster.kubectl("logs", "pretended-worker-1", "--namespace", namespace)
    assert cluster.kubectl("exec", "pretended-worker-1", "--namespace", namespace, "--", "echo", "there") == "there\n"
    wait(cluster, namespace, "pytorchjob/pretended", "condition=Succeeded")
    pods = dict.fromkeys(("pretended-master-0", "pretended-worker-0", "pretended-worker-1"), "ml.p5.48xlarge")
    assert pods_on_nodes(cluster, namespace) == pods


def test_the_webhook_refuses_a_pytorchjob_without_a_container_named_pytorch(cluster: Cluster, namespace: str) -> None:
    job = yaml.safe_load((EXAMPLES / "pytorchjob.yaml").read_text())
    job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"]["containers"][0]["name"] = "other"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        cluster.apply([job], "--namespace", namespace)
    assert "must have at least one container with name pytorch" in caught.value.stderr


def test_a_trainjob_gets_its_pods(cluster: Cluster, namespace: str) -> None:
    apply_example(cluster, "trainjob", namespace)
    wait(cluster, namespace, "trainjob/pretended", "condition=Complete")
    assert len(pods_on_nodes(cluster, namespace)) == 2


def test_a_raycluster_becomes_ready(cluster: Cluster, namespace: str) -> None:
    apply_example(cluster, "raycluster", namespace)
    wait(cluster, namespace, "raycluster/pretended", "jsonpath={.status.state}=ready")
    assert len(pods_on_nodes(cluster, namespace)) == 3


def test_torch_in_two_real_pods_sums_over_the_network(cluster: Cluster, namespace: str) -> None:
    apply_example(cluster, "torch", namespace)
    wait(cluster, namespace, "pytorchjob/torch", "condition=Succeeded", timeout_s=180)
    logs = [cluster.kubectl("logs", f"torch-{pod}-0", "--namespace", namespace) for pod in ("master", "worker")]
    said = {line for log in logs for line in re.findall(r"rank \d of \d: sum \d+", log)}  # two ranks may share a line
    assert said == {f"rank {rank} of 4: sum 10" for rank in range(4)}


def test_a_user_may_do_what_the_role_says_and_nothing_else(cluster: Cluster, namespace: str) -> None:
    stranger = cluster.user("stranger", namespace)
    reader = cluster.user("reader", namespace, rules=PODS_READER)
    assert 'cannot list resource "pods"' in refusal(cluster, "get", "pods", user=stranger)
    assert json.loads(cluster.kubectl("get", "pods", "--output=json", user=reader))["items"] == []
    assert "forbidden" in refusal(cluster, "get", "pods", "--namespace=default", user=reader)
    assert "forbidden" in refusal(cluster, "delete", "pods", "any", user=reader)
    assert 'cannot list resource "nodes"' in refusal(cluster, "get", "nodes", user=reader)


def test_cluster_wide_rules_hold_until_the_namespace_goes(cluster: Cluster, namespace: str) -> None:
    watcher = cluster.user("watcher", namespace, cluster_rules=NODES_READER)
    assert "real-0" in cluster.kubectl("get", "nodes", user=watcher)
    assert "forbidden" in refusal(cluster, "get", "pods", user=watcher)
    assert cluster.get("clusterrole", f"{namespace}-watcher")["metadata"]["ownerReferences"][0]["name"] == namespace


def test_down_leaves_no_process_mount_network_or_cgroup() -> None:
    """A second cluster beside the session's, with a pod that still runs; before `down` the same search finds all of it."""
    if reason := reason_against(build.CONTROL_PLANE + build.REAL_NODE):
        pytest.skip(reason)
    with temporary_cluster(operators=(), nodes_a_type=0) as second:
        pod = yaml.safe_load((EXAMPLES / "pod.yaml").read_text())
        pod["spec"]["containers"][0]["command"] = ["sleep", "600"]
        second.apply([pod])
        wait(second, "default", "pod/hello", "condition=Ready")
        there = leftovers(second.place)
    assert any(line.endswith(" sleep") for line in there["processes"])
    assert any(line.endswith(" kubelet") for line in there["processes"])
    assert any("overlay" in mount or "rootfs" in mount for mount in there["mounts"])
    expected = {f"/run/netns/{second.place.name}", f"/sys/class/net/{second.place.name}-h", str(second.place.state)}
    assert expected < set(there["files"])
    assert any(file.startswith("/sys/fs/cgroup/") for file in there["files"])
    assert leftovers(second.place) == {}
