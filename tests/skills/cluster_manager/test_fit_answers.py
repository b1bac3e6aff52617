"""`fit`: one verdict a job file, each reason named, what cannot be seen never passed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cm_api import Api, until
from cm_calls import Answer, Manage, manage_with
from cm_nodes import LABEL, TAINT, nodes

from tests.components.cluster.running import Cluster

Write = Callable[[dict[str, Any]], str]
GPU = "nvidia.com/gpu"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def job_file(job: dict[str, Any]) -> str:
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(job))
        return str(path)

    return job_file


def test_a_job_gets_its_nodes_zone_pod_size_and_price(api: Api, manage: Manage, write: Write, namespace: str) -> None:
    with nodes(api, 3) as made:
        made.put("busy", namespace, 1, {"cpu": "1", GPU: "1"})
        answer = manage("fit", write(made.job(nodes=2)), "-n", namespace)
        assert answer.code == 0, answer.document
        data = answer.data
        assert (data["fits"], data["zone"], data["missing"]) == (True, "us-west-2a", [])
        assert sorted(data["nodes"]) == sorted([made.names[0], made.names[2]])
        assert data["pod"] == {"cpu": "192", "memory": "2048Gi", "gpus": 8, "gpu_resource": GPU, "efa": 32, "shm": "1024Gi"}
        assert (data["procs_per_node"], data["usd_per_hour"], data["network"]) == (8, 110.08, "efa")
        assert data["cluster"]["namespace"] == namespace

        no = manage("fit", write(made.job(nodes=3)))
        assert (no.code, no.data["fits"]) == (1, False)
        assert no.data["missing"][0].startswith("room for 1 of 3 pods in one zone")
        assert "1 of 3 nodes: not enough cpu, nvidia.com/gpu left" in no.data["missing"]


def test_the_nodes_own_spelling_of_the_type_is_used(api: Api, manage: Manage, write: Write) -> None:
    with nodes(api, 1) as made:
        data = manage("fit", write(made.job(resources={"instance_type": "p5.48xlarge"}))).data
        assert (data["fits"], data["instance_type"]) == (True, "ml.p5.48xlarge")


def test_a_part_of_the_accelerators_gets_its_part_of_the_node(api: Api, manage: Manage, write: Write) -> None:
    with nodes(api, 1) as made:
        data = manage("fit", write(made.job(nodes=4, procs_per_node=2))).data
        assert (data["fits"], data["nodes"], data["usd_per_hour"]) == (True, made.names * 4, 55.04)
        assert (data["pod"]["cpu"], data["pod"]["memory"], data["pod"]["efa"]) == ("48", "512Gi", 8)
        limited = manage("fit", write(made.job(nodes=4, procs_per_node=2, resources={"limits": {"cpu": "40"}}))).data
        assert (limited["pod"]["cpu"], limited["pod"]["memory"]) == ("40", "512Gi"), "no more is asked for than is allowed"


def test_whole_nodes_leave_room_for_what_daemon_sets_hold(api: Api, manage: Manage, write: Write, namespace: str) -> None:
    with nodes(api, 2) as made:
        container = {
            "name": "agent",
            "image": "local.test/pause:1",
            "resources": {"requests": {"cpu": "1500m", "memory": "2Gi"}},
        }
        spec = {"containers": [container], "nodeSelector": {LABEL: made.label}, "tolerations": [{"operator": "Exists"}]}
        labels = {"app": "agent"}
        daemons = {
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": namespace},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
        }
        api.create_all([daemons])
        path = f"/api/v1/namespaces/{namespace}/pods"
        until(lambda: sum(bool(pod["spec"].get("nodeName")) for pod in api.list(path)) == 2, "the DaemonSet's pods")
        data = manage("fit", write(made.job(nodes=2))).data
        assert (data["fits"], data["pod"]["cpu"], data["pod"]["memory"]) == (True, "190500m", "2046Gi")


@pytest.mark.situation("R61", "nodes that are cordoned, or tainted", "`fit` counts the nodes and names cordon and taint")
def test_each_reason_against_a_node_is_counted(api: Api, manage: Manage, write: Write) -> None:
    with nodes(api, 2, unschedulable=True) as cordoned:
        assert "2 of 2 nodes: cordoned" in manage("fit", write(cordoned.job())).data["missing"]
    with nodes(api, 2) as tainted:
        untolerant = tainted.job(cluster={"tolerations": []})
        told = f"2 of 2 nodes: taint {TAINT['key']}=present:NoSchedule is not tolerated"
        assert told in manage("fit", write(untolerant)).data["missing"]
        avoiding = tainted.job(cluster={"avoid_nodes": tainted.names})
        assert "2 of 2 nodes: the job avoids it (cluster.avoid_nodes)" in manage("fit", write(avoiding)).data["missing"]
        words = ("--avoid-node", tainted.names[0], "--nodes", "2")
        assert manage("fit", write(tainted.job()), *words).data["fits"] is False
        nowhere = tainted.job(cluster={"node_selector": {LABEL: "none-such"}})
        assert any("no node has the labels" in line for line in manage("fit", write(nowhere)).data["missing"])


@pytest.mark.situation(
    "R62", "a node with HyperPod's repair label, one with a GPU off the bus", "neither counts, and both are named"
)
def test_a_faulty_hyperpod_node_does_not_count(api: Api, manage: Manage, write: Write) -> None:
    """For a job that goes to HyperPod; one of which nothing is known counts and is named."""
    with nodes(api, 3) as made:
        held, broken, fine = made.names
        label = {"metadata": {"labels": {"sagemaker.amazonaws.com/node-health-status": "UnschedulablePendingReboot"}}}
        api.send("PATCH", f"/api/v1/nodes/{held}", label, "application/merge-patch+json")
        for name, status, reason in ((broken, "False", "NvidiaXID79Error"), (fine, "True", "NvidiaGPUIsReady")):
            condition = {"type": "AcceleratedHardwareReady", "status": status, "reason": reason}
            patch = {"status": {"conditions": [condition]}}
            api.send("PATCH", f"/api/v1/nodes/{name}/status", patch, "application/strategic-merge-patch+json")
        one = manage("fit", write(made.job()))
        assert (one.code, one.data["nodes"]) == (0, [fine]), one.document
        told = one.check("fit.health")
        assert told["status"] == "warn" and held in told["evidence"] and "fallen off the bus" in told["evidence"]
        two = manage("fit", write(made.job(nodes=2)))
        assert (two.code, two.data["fits"]) == (1, False) and any(broken in line for line in two.data["missing"])
        eks = manage("fit", write(made.job(nodes=3, target="eks")))
        assert eks.data["fits"] is True and not any(check["id"] == "fit.health" for check in eks.document["checks"]), "control"
        unlabelled = {"metadata": {"labels": {"sagemaker.amazonaws.com/node-health-status": None}}}
        api.send("PATCH", f"/api/v1/nodes/{held}", unlabelled, "application/merge-patch+json")
        unknown = manage("fit", write(made.job(nodes=2)))
        assert unknown.code == 0 and f"unknown: {held}" in unknown.check("fit.health")["evidence"]


def test_efa_that_no_node_offers_is_a_warning_for_auto_and_a_no_for_efa(api: Api, manage: Manage, write: Write) -> None:
    with nodes(api, 2) as made:
        for name in made.names:
            patch = [{"op": "remove", "path": f"/status/{part}/vpc.amazonaws.com~1efa"} for part in ("allocatable", "capacity")]
            status, answer = api.send("PATCH", f"/api/v1/nodes/{name}/status", patch, "application/json-patch+json")
            assert status == 200, answer
        auto = manage("fit", write(made.job(nodes=2)))
        assert (auto.code, auto.check("fit.network")["status"], auto.data["network"]) == (0, "warn", "tcp")
        forced = manage("fit", write(made.job(nodes=2, network="efa")))
        assert (
            forced.code == 1
            and "2 of 2 nodes: offers 0 of its 32 vpc.amazonaws.com/efa, a pod asks for 32" in forced.data["missing"]
        )


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"resources": {"instance_type": "p5.48large"}}, "no instance type 'p5.48large'"),
        ({"resources": {"instance_type": "p5.48xlarge"}, "procs_per_node": 9}, "procs_per_node is 9"),
        ({"nodes": 0}, "$.nodes: expected int >= 1"),
        ({"nodes": "two"}, "$.nodes: expected int, got str"),
        ({"resources": {"cpu": "many"}}, "'many' is neither auto nor a quantity"),
        pytest.param(
            {"resources": {"memory": "100m"}},
            "$.resources.memory: '100m' counts fractions of a byte",
            marks=pytest.mark.situation("S12", "the job file says `memory: 100m`", "a usage error: that is a tenth of a byte"),
        ),
        ({"resources": {"shm": "64"}}, "$.resources.shm: '64' is 64 bytes; did you mean 64Gi?"),
        ({"resources": {"limits": {"cpu": "0"}}}, "$.resources.limits.cpu: '0' is not greater than 0"),
        ({"resources": {"memory": "2Gi", "limits": {"memory": "1Gi"}}}, "$.resources.limits.memory: 1Gi is less than the 2Gi"),
        ({"cluster": {"node_selector": {"gpu": True}}}, "$.cluster.node_selector.gpu: expected str, got bool"),
        ({"network": "infiniband"}, "$.network: 'infiniband' is not one of the known values: auto, efa, tcp"),
    ],
)
def test_a_wrong_job_file_is_an_error_that_names_the_key(manage: Manage, write: Write, job: dict[str, Any], said: str) -> None:
    answer = manage("fit", write(job))
    assert answer.code == 2 and said in answer.document["error"]["message"]


def test_a_volume_that_several_nodes_cannot_share_is_a_no(api: Api, manage: Manage, write: Write, namespace: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": "disk", "namespace": namespace}
    api.create_all([{"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}])
    with nodes(api, 2) as made:
        two = manage("fit", write(made.job(nodes=2)), "-n", namespace, "--claim", "disk")
        assert (two.code, two.check("fit.volume")["status"]) == (1, "fail")
        assert "claim disk is ReadWriteOnce: 2 nodes need ReadWriteMany" in two.data["missing"]
        one = manage("fit", write(made.job(nodes=1)), "-n", namespace, "--claim", "disk")
        assert "claim disk is not bound: its pods would wait" in one.data["missing"]
        gone = manage("fit", write(made.job(nodes=1)), "-n", namespace, "--claim", "none-such")
        assert f"claim none-such in namespace {namespace}" in gone.data["missing"]
        job = made.job(nodes=1, checkpoints={"storage": {"class": "none-such", "size": "1Gi"}})
        assert "storage class none-such" in manage("fit", write(job)).data["missing"]


def test_a_quota_says_what_is_left_of_it(api: Api, manage: Manage, write: Write, namespace: str) -> None:
    metadata = {"name": "team", "namespace": namespace}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {f"requests.{GPU}": "8"}}}
    api.create_all([quota])
    with nodes(api, 2) as made:
        assert manage("fit", write(made.job(nodes=1)), "-n", namespace).code == 0
        answer = manage("fit", write(made.job(nodes=2)), "-n", namespace)
        assert answer.data["missing"] == [f"quota team: 16 requests.{GPU}, 8 of 8 left"]


def test_what_the_cluster_lacks_besides_nodes_is_missing_too(api: Api, manage: Manage, write: Write) -> None:
    with nodes(api, 1) as made:
        queued = manage("fit", write(made.job(cluster={"queue": "team"})))
        assert (queued.code, queued.data["missing"]) == (1, ["queue team: Kueue is not installed"])
        without_efa = {"nodes": 1, "resources": {"instance_type": "g5.2xlarge"}, "network": "efa"}
        assert "g5.2xlarge has no EFA" in manage("fit", write(without_efa)).data["missing"]


def test_without_cluster_wide_reads_the_verdict_is_open_and_the_size_still_told(
    cluster: Cluster, write: Write, namespace: str
) -> None:
    reader = cluster.user("team", namespace, rules=[{"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["list"]}])
    job = {"nodes": 2, "resources": {"instance_type": "p5.48xlarge"}}
    answer: Answer = manage_with(Path(reader))("fit", write(job), "-n", namespace)
    assert (answer.code, answer.data["fits"], answer.check("fit.nodes")["status"]) == (1, None, "unknown")
    assert '"resources": ["nodes"]' in answer.check("fit.nodes")["fix"]
    assert answer.data["pod"]["gpus"] == 8 and answer.data["pod"]["cpu"] == "172800m"


def test_a_job_of_128_nodes_is_planned(api: Api, manage: Manage, write: Write) -> None:
    with nodes(api, 128) as made:
        data = manage("fit", write(made.job(nodes=128))).data
        assert (data["fits"], len(set(data["nodes"])), data["room"]) == (True, 128, 128)
        layer = {
            node["metadata"]["name"]: node["metadata"]["labels"]["topology.k8s.aws/network-node-layer-3"]
            for node in made.manifests
        }
        runs = [name for name, _ in itertools.groupby(layer[name] for name in data["nodes"])]
        assert len(runs) == len(set(runs)), "neighbours in the network have neighbouring ranks"
