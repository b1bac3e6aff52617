"""`health`: a node is what the table says of all that is known about it, and what nobody knows is never healthy."""

from __future__ import annotations

from typing import Any

import pytest
from hp_call import Manager
from hp_kube import GPU_READY, READY, Kube, node, pod

from tests.components.aws import hyperpod
from tests.components.aws.running import Aws

PENDING = {"node-health-status": "UnschedulablePendingReplacement"}
XID = "NVRM: Xid (PCI:0000:b9:00): {}, pid=<unknown>, name=<unknown>"
SINCE = "2026-11-29T09:00:00Z"


def accelerated(reason: str, status: str = "False") -> list[dict[str, Any]]:
    return [{"type": "AcceleratedHardwareReady", "status": status, "reason": reason, "lastTransitionTime": SINCE}]


NODES: dict[str, tuple[dict[str, Any], tuple[str, str, str | None]]] = {
    "healthy": ({}, ("healthy", "none", None)),
    "pending": ({"labels": PENDING}, ("faulty", "replace", "must be replaced")),
    "reboot": ({"labels": {"node-health-status": "UnschedulablePendingReboot"}}, ("faulty", "reboot", "must be rebooted")),
    "checked": ({"labels": {"node-health-status": "Unschedulable"}}, ("degraded", "watch", "being checked")),
    "deep": ({"labels": {"deep-health-check-status": "Failed"}}, ("faulty", "replace", "deep health check failed")),
    "xid": ({"conditions": accelerated("NvidiaXID79Error")}, ("faulty", "replace", "fallen off the bus")),
    "fabric": ({"conditions": accelerated("NvidiaFabricError")}, ("faulty", "replace", "fabric")),
    "fault": ({"conditions": [GPU_READY, {"type": "NvidiaErrorReboot", "status": "True", "reason": "XidHardwareFailure",
                                          "message": XID.format(62)}]}, ("faulty", "reboot", "micro-controller halt")),
    "recovered": ({"conditions": [GPU_READY, {"type": "NvidiaErrorReboot", "status": "False", "reason": "x"}]}, ("healthy", "none", None)),
    "recovery": ({"labels": PENDING, "details": [{"timestamp": SINCE, "type": "NvidiaErrorReboot", "message":
                 "Xid 154 GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)"}]},
                 ("faulty", "replace", "Node Reboot Required")),
    "labelled": ({"labels": {"fault-types": "NvidiaErrorTerminate", "fault-reasons": "XID_64"}}, ("faulty", "replace", "remapped")),
    "no-xid": ({"conditions": accelerated("NvidiaXID999Error")}, ("unknown", "watch", "Xid 999 is in no row")),
    "no-reason": ({"conditions": accelerated("GremlinsInside")}, ("unknown", "watch", "an unknown reason")),
    "no-condition": ({"conditions": [GPU_READY, {"type": "Haunted", "status": "True"}]}, ("unknown", "watch", "an unknown condition")),
    "lost": ({"conditions": accelerated("x", "Unknown")}, ("unknown", "watch", "has not been reported lately")),
    "no-label": ({"labels": {"node-health-status": ""}}, ("unknown", "watch", "no health label")),
    "no-value": ({"labels": {"node-health-status": "Perfect"}}, ("unknown", "watch", "an unknown value of node-health-status")),
    "no-fault": ({"labels": {"fault-types": "Gremlins"}}, ("unknown", "watch", "an unknown fault")),
    "no-agent": ({"conditions": []}, ("unknown", "watch", "no agent watches")),
    "cpu": ({"conditions": [], "type": "ml.m5.large"}, ("healthy", "none", None)),
    "broken-json": ({"details": "[{"}, ("unknown", "watch", "fault-details cannot be read")),
    "deep-json": ({"details": "[" * 5000}, ("unknown", "watch", "fault-details cannot be read")),
    "long-json": ({"details": '["' + "x" * 70_000 + '"]'}, ("unknown", "watch", "fault-details cannot be read")),
    "decode": ({"conditions": accelerated("NvidiaXID145Warning")}, ("unknown", "watch", "registers")),
}  # fmt: skip
"""Name -> what the node says, and what is said of it: verdict, action, words of the cause."""


def test_each_word_has_its_verdict(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    """All in one cluster: the calls are few."""
    hyperpod.make(aws, groups={"workers": len(NODES)})
    names = dict(zip(sorted(hyperpod.ids(aws)), NODES, strict=True))
    kubernetes.nodes = [node(id, **NODES[name][0]) for id, name in names.items()]
    done = manage("health", "trainyard")
    said = {names[row["instance_id"]]: row for row in done.data["nodes"]}
    found = {name: (row["verdict"], row["action"]) for name, row in said.items()}
    assert found == {name: expected[:2] for name, (_, expected) in NODES.items()}
    for name, (_, (_, action, words)) in NODES.items():
        told = [said[name]["cause"] or "", *(each["means"] for each in said[name]["findings"])]
        assert words is None or any(words in each for each in told), (name, told)
        repair = f"manage_hyperpod.py {action} trainyard --node {said[name]['instance_id']} --region us-east-1"
        assert said[name]["next"] == (repair if action in ("reboot", "replace") else None)
    assert (said["xid"]["since"], said["xid"]["repaired_by"]) == (SINCE, "node-repair-10")
    assert (said["pending"]["repaired_by"], said["pending"]["running_job"]) == ("hyperpod", "stops")
    assert (
        done.code == 1
        and done.check("health.faulty")["status"] == "fail"
        and done.check("health.unknown")["status"] == "unknown"
    )
    assert any("replace trainyard" in line for line in done.document["next"])


def test_a_healthy_cluster_is_a_yes(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    """Preflight of a job; more nodes than there are, or than are healthy, is a no."""
    hyperpod.make(aws, groups={"workers": 2})
    one, two = hyperpod.ids(aws)
    kubernetes.nodes = [node(one), node(two)]
    kinds = ("--instance-type", "p5.48xlarge", "--nodes")
    done = manage("health", "trainyard", *kinds, 2)
    assert done.code == 0 and done.check("health.enough")["status"] == "pass", done
    assert manage("health", "trainyard", *kinds, 3).check("health.enough")["status"] == "fail"
    kubernetes.nodes = [node(one), node(two, conditions=[])]
    assert manage("health", "trainyard", *kinds, 2).check("health.enough")["status"] == "unknown"
    kubernetes.nodes = [node(one), node(two, conditions=[])]
    kubernetes.pods = [pod(f"hyperpod-{two}", "health-monitoring-agent-x", namespace="aws-hyperpod", owner="DaemonSet/a")]
    assert manage("health", "trainyard").code == 0, "HyperPod's agent is one too"
    only = manage("health", "trainyard", "--node", f"hyperpod-{one}")
    assert [row["instance_id"] for row in only.data["nodes"]] == [one]
    assert manage("health", "trainyard", "--node", "i-0123456789abcdef0").error["code"] == "not-found"
    assert manage("health", "trainyard", "--nodes", "2").code == 2


@pytest.mark.parametrize(("recovery", "by"), [("Automatic", "hyperpod"), ("None", "nobody")])
def test_without_automatic_recovery_nobody_repairs(aws: Aws, kubernetes: Kube, manage: Manager, recovery: str, by: str) -> None:
    """The cause names what was found, not only that the node is to be replaced."""
    hyperpod.make(aws, groups={"workers": 1}, recovery=recovery)
    (id,) = hyperpod.ids(aws)
    kubernetes.nodes = [node(id, labels={**PENDING, "fault-types": "NvidiaErrorTerminate"})]
    done = manage("health", "trainyard")
    (row,) = done.data["nodes"]
    assert (row["repaired_by"], row["action"]) == (by, "replace")
    assert ("by itself" in done.check("health.faulty")["fix"]) == (by == "hyperpod")
    assert "NvidiaErrorTerminate" in row["evidence"], row


def test_an_event_of_a_node_is_told(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    """The same Xid that a condition has repaired is repaired by nobody when it was only an event."""
    hyperpod.make(aws, groups={"workers": 1})
    (id,) = hyperpod.ids(aws)
    kubernetes.nodes = [node(id)]
    about = {"involvedObject": {"kind": "Node", "name": f"hyperpod-{id}"}, "type": "Warning", "lastTimestamp": SINCE}
    kubernetes.events = [{**about, "metadata": {"name": "a"}, "reason": "NvidiaXID13Warning", "message": "detected XID-13"},
                         {**about, "metadata": {"name": "b"}, "reason": "FreeDiskSpaceFailed"}]  # fmt: skip
    (row,) = manage("health", "trainyard").data["nodes"]
    assert (row["verdict"], row["action"], row["repaired_by"], row["since"]) == ("degraded", "application", "nobody", SINCE)
    kubernetes.events = kubernetes.events[1:]
    assert manage("health", "trainyard").code == 0, "control"


def test_what_cannot_be_read_is_unknown(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    hyperpod.make(aws, groups={"workers": 1})
    kubernetes.nodes = [node(each) for each in hyperpod.ids(aws)]
    for what in ("nodes", "events"):
        kubernetes.refused = {what}
        assert manage("health", "trainyard").code == 1, what
    kubernetes.refused = set()
    aws.fail("sagemaker:ListClusterEvents", "AccessDeniedException", times=9, status=403)
    denied = manage("health", "trainyard")
    assert denied.code == 1 and denied.check("health.events")["status"] == "unknown"
    assert denied.data["nodes"][0]["verdict"] == "healthy", "the node's own word is still known"


def test_instances_that_sagemaker_calls_broken(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    """And one that runs and never joined Kubernetes."""
    hyperpod.make(aws, groups={"workers": 2})
    one, two = hyperpod.ids(aws)
    aws.control("hyperpod_node", cluster="trainyard", node=one, status="Failure", message="EFA health check failed")
    kubernetes.nodes = []
    rows = {row["instance_id"]: row for row in manage("health", "trainyard").data["nodes"]}
    assert (rows[one]["verdict"], rows[one]["action"]) == ("faulty", "replace") and "EFA" in rows[one]["evidence"]
    assert (rows[two]["verdict"], rows[two]["cause"]) == ("unknown", "it runs and has not joined Kubernetes")


def test_who_fails_again_is_named(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    """By its own faults, and by the errors that SageMaker tells of one place's instances."""
    hyperpod.make(aws, groups={"workers": 2})
    aws.hyperpod_pace(launch_s=0.05, capacity_s=0.05, shutdown_s=0.05)
    one, two = (each["InstanceId"] for each in hyperpod.nodes(aws))
    details = [
        {"timestamp": f"2026-11-2{day}T09:00:00Z", "type": "NvidiaErrorReboot", "message": XID.format(74)} for day in (7, 8)
    ]
    kubernetes.nodes = [node(one, details=details), node(two)]
    done = manage("health", "trainyard")
    assert (
        f"{one} failed 2 times" in done.check("health.repeat")["evidence"]
        and two not in done.check("health.repeat")["evidence"]
    )
    assert done.code == 0, "its labels say that it was repaired"
    place = next(each["NodeLogicalId"] for each in hyperpod.nodes(aws) if each["InstanceId"] == two)
    aws.hyperpod_fault("launch_fails", cluster="trainyard", times=2)
    for _ in range(2):
        aws.client("sagemaker").batch_replace_cluster_nodes(ClusterName="trainyard", NodeLogicalIds=[place])
        hyperpod.until(lambda: hyperpod.nodes(aws)[1]["InstanceStatus"]["Status"] in ("Failure", "Running"), "the replacement")
        hyperpod.until(
            lambda: any(each["InstanceStatus"]["Status"] == "Failure" for each in hyperpod.nodes(aws)), "its failure"
        )
    kubernetes.nodes = [node(one)]
    again = manage("health", "trainyard")
    assert f"node {place}: 2 instances broke" in again.check("health.repeat")["evidence"], again.document["checks"]


def test_a_node_not_ready_is_faulty(aws: Aws, kubernetes: Kube, manage: Manager) -> None:
    hyperpod.make(aws, groups={"workers": 2})
    one, two = sorted(hyperpod.ids(aws))
    kubernetes.nodes = [node(one), node(two)]
    kubernetes.nodes[0]["status"]["conditions"][0] = READY | {"status": "Unknown", "reason": "NodeStatusUnknown"}
    del kubernetes.nodes[1]["status"]["conditions"][0]
    rows = {row["instance_id"]: row for row in manage("health", "trainyard").data["nodes"]}
    assert (rows[one]["verdict"], rows[two]["verdict"]) == ("faulty", "unknown")


@pytest.mark.parametrize("verb", ["health", "events"])
def test_a_slurm_cluster(aws: Aws, manage: Manager, verb: str) -> None:
    """Nothing can be known of its health here; its events are kept where it is continuous."""
    hyperpod.make(aws, slurm=True)
    done = manage(verb, "trainyard")
    assert done.code == (1 if verb == "health" else 0), done
