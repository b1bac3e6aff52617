"""`nodes`: both sides joined by the instance's id, and what does not fit between them is said."""

from __future__ import annotations

import json

from hp_call import Manager
from hp_kube import Kube, node, pod

from tests.components.aws import hyperpod
from tests.components.aws.running import Aws

OTHER_EKS = "arn:aws:eks:us-east-1:123456789012:cluster/another"


def test_both_sides_are_one_row(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    """Also where the node has the name of an instance that was replaced."""
    hyperpod.make(aws)
    one, two = sorted(hyperpod.ids(aws))
    taint = {"key": "sagemaker.amazonaws.com/node-health-status", "value": "Unschedulable", "effect": "NoSchedule"}
    kubernetes.nodes = [
        node(one, name="hyperpod-i-0aaaaaaaaaaaaaaaa", labels={"deep-health-check-status": "Passed"}),
        node(two, labels={"node-health-status": "Unschedulable"}, taints=[taint], details=[{"type": "NvidiaErrorReboot"}]),
    ]
    kubernetes.pods = [
        pod("hyperpod-i-0aaaaaaaaaaaaaaaa", "net-0", labels={"trainyard.dev/run": "net"}),
        pod("hyperpod-i-0aaaaaaaaaaaaaaaa", "agent", namespace="aws-hyperpod", owner="DaemonSet/health-monitoring-agent"),
        pod(f"hyperpod-{two}", "other-0", owner="PyTorchJob/other"),
        pod(f"hyperpod-{two}", "web-5d-x", owner="ReplicaSet/web-5d", labels={"pod-template-hash": "5d"}),
    ]
    done = manage("nodes", "trainyard")
    assert done.code == 0, done
    rows = {row["instance_id"]: row for row in done.data["nodes"]}
    assert set(rows) == {one, two} and done.data["total"] == 2
    first, second = rows[one], rows[two]
    assert (first["status"], first["group"], first["type"]) == ("Running", "workers", "ml.p5.48xlarge")
    assert (first["node"], first["ready"], first["zone"]) == ("hyperpod-i-0aaaaaaaaaaaaaaaa", True, "us-east-1a")
    assert (
        first["labels"]["deep-health-check-status"] == "Passed" and first["logical_id"] and first["image_status"] == "UpToDate"
    )
    assert first["runs"] == [{"namespace": "team", "owner": "run/net", "ours": True, "pods": 1}]
    assert [each["owner"] for each in second["runs"]] == ["Deployment/web", "PyTorchJob/other"]
    assert second["fault_details"] == [{"type": "NvidiaErrorReboot"}] and second["taints"][0].endswith(
        "Unschedulable:NoSchedule"
    )
    assert (first["health"], second["health"]) == ("healthy", "faulty")
    assert "hyperpod-i-0aaaaaaaaaaaaaaaa is " + one in done.check("nodes.stale-name")["evidence"]
    few = manage("nodes", "trainyard", "--unhealthy")
    assert [row["instance_id"] for row in few.data["nodes"]] == [two]


def test_what_does_not_fit_is_said(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    """An instance without a node, a node without an instance, one of another HyperPod cluster, another group."""
    hyperpod.make(aws, groups={"workers": 2, "others": 1})
    one, two = sorted(each["InstanceId"] for each in hyperpod.nodes(aws) if each["InstanceGroupName"] == "workers")
    third = next(each["InstanceId"] for each in hyperpod.nodes(aws) if each["InstanceGroupName"] == "others")
    kubernetes.nodes = [
        node(one),
        node(third, group="workers"),
        node("i-0bbbbbbbbbbbbbbbb"),
        node("i-0cccccccccccccccc", cluster="another"),
    ]
    done = manage("nodes", "trainyard")
    assert two in done.check("nodes.unregistered")["evidence"]
    assert "i-0bbbbbbbbbbbbbbbb" in done.check("nodes.without-instance")["evidence"]
    assert "hyperpod-i-0cccccccccccccccc of another" in done.check("nodes.foreign")["evidence"]
    assert "workers here, others in SageMaker" in done.check("nodes.other-group")["evidence"]
    assert "i-0cccccccccccccccc" not in json.dumps(done.data)
    group = manage("nodes", "trainyard", "--group", "others")
    assert [row["instance_id"] for row in group.data["nodes"]] == [third]
    assert not any(check["id"] == "nodes.without-instance" for check in group.document["checks"])
    kubernetes.nodes = [node(one), node(two), node(third, group="others")]
    fits = manage("nodes", "trainyard")
    assert [check["id"] for check in fits.document["checks"]] == ["nodes.cluster"], "control"


def test_another_clusters_nodes_are_never_joined(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    hyperpod.make(aws)
    kubernetes.nodes = [node(each) for each in hyperpod.ids(aws)]
    manage.kubeconfig = kubernetes.written(OTHER_EKS)
    for verb in ("nodes", "health"):
        done = manage(verb, "trainyard")
        assert (done.code, done.error["code"]) == (5, "conflict") and OTHER_EKS in done.error["message"], done
    assert not any("nodes" in path for path in kubernetes.asked), "nothing was read there"
    manage.kubeconfig = kubernetes.written("a-name-of-my-own")
    known = manage("nodes", "trainyard")
    assert known.check("nodes.cluster")["status"] == "pass", "control: instance ids prove it"
    kubernetes.nodes = [node("i-0bbbbbbbbbbbbbbbb")]
    unknown = manage("nodes", "trainyard")
    assert (unknown.code, unknown.check("nodes.cluster")["status"]) == (1, "unknown"), unknown


def test_kubernetes_may_be_left_out(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    hyperpod.make(aws, continuous=False)
    done = manage("nodes", "trainyard", "--no-kubernetes")
    assert done.code == 0 and len(done.data["nodes"]) == 2 and kubernetes.asked == []
    assert {row["health"] for row in done.data["nodes"]} == {"unknown"}, "SageMaker's Running alone is no health"
    manage.kubeconfig = None
    gone = manage("nodes", "trainyard")
    assert (gone.code, gone.check("nodes.kubernetes")["status"]) == (1, "unknown") and len(gone.data["nodes"]) == 2


def test_pods_that_may_not_be_read(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    """Then nobody knows who runs there: null, not nobody."""
    hyperpod.make(aws)
    kubernetes.nodes = [node(each) for each in hyperpod.ids(aws)]
    assert {json.dumps(row["runs"]) for row in manage("nodes", "trainyard").data["nodes"]} == {"[]"}
    kubernetes.refused = {"pods"}
    done = manage("nodes", "trainyard")
    assert (done.code, done.check("nodes.pods")["status"]) == (1, "unknown")
    assert {row["runs"] for row in done.data["nodes"]} == {None} and '"list"' in done.check("nodes.pods")["fix"]


def test_a_slurm_cluster_has_instances_alone(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    hyperpod.make(aws, slurm=True, continuous=False)
    done = manage("nodes", "trainyard")
    assert done.code == 0 and done.data["orchestrator"] == "slurm" and kubernetes.asked == []
    assert "Slurm" in done.check("nodes.kubernetes")["summary"]


def test_a_place_without_an_instance_is_shown(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    hyperpod.make(aws, groups={"workers": 1})
    aws.hyperpod_fault("no_capacity", cluster="trainyard", times=50)
    aws.client("sagemaker").batch_add_cluster_nodes(
        ClusterName="trainyard", NodesToAdd=[{"InstanceGroupName": "workers", "IncrementTargetCountBy": 1}]
    )
    kubernetes.nodes = [node(each) for each in hyperpod.ids(aws)]
    rows = manage("nodes", "trainyard").data["nodes"]
    pending = next(row for row in rows if row["instance_id"] is None)
    assert pending["logical_id"] and pending["status"] == "Pending" and len(rows) == 2


def test_names_and_refusals(aws: Aws, manage: Manager) -> None:
    """No cluster, in AWS's words and in moto's; busy; not signed in; not allowed."""
    none = manage("nodes")
    assert (none.code, none.error["code"]) == (3, "not-found"), none
    for as_moto in (False, True):
        aws.control("hyperpod_not_found", as_moto=as_moto)
        assert manage("nodes", "absent").error["code"] == "not-found"
    hyperpod.make(aws)
    assert manage("nodes", "trainyard", "--group", "absent").error["code"] == "not-found"
    assert manage("nodes", "no/cluster").code == 2
    aws.fail("sagemaker:ListClusterNodes", "ThrottlingException", times=9)
    busy = manage("nodes", "trainyard")
    assert (busy.code, busy.error["retryable"]) == (8, True)
    aws.reset()
    aws.fail("sagemaker:DescribeCluster", "ExpiredTokenException")
    expired = manage("nodes", "trainyard")
    assert (expired.code, expired.error["code"]) == (4, "credentials"), expired
    manage.env |= aws.user(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "*"}]}
    )
    denied = manage("nodes", "trainyard")
    assert (denied.code, denied.error["code"]) == (4, "permission") and "sagemaker:DescribeCluster" in denied.error["hint"]
