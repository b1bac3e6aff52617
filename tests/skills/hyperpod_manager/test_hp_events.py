"""`events`: what happened, with the cause that only the detail call has; what was not asked for is said."""

from __future__ import annotations

import pytest
from hp_call import Manager

from tests.components.aws import hyperpod
from tests.components.aws.running import Aws


def broken(aws: Aws, nodes: int = 1) -> None:
    """A continuous cluster in which launches have failed."""
    hyperpod.make(aws, groups={"workers": 1, "others": 1})
    aws.hyperpod_pace(launch_s=0.02, capacity_s=0.02)
    aws.hyperpod_fault("launch_fails", cluster="trainyard", times=nodes, message="EFA health check failed")
    more = [{"InstanceGroupName": "workers", "IncrementTargetCountBy": nodes}]
    aws.client("sagemaker").batch_add_cluster_nodes(ClusterName="trainyard", NodesToAdd=more)
    hyperpod.until(lambda: list(hyperpod.statuses(aws).values()).count("Failure") == nodes, "the failures")


def test_an_error_has_its_cause(aws: Aws, manage: Manager) -> None:
    broken(aws)
    done = manage("events", "trainyard", "--level", "Error")
    assert done.code == 0 and done.data["total"] >= 1, done
    event = done.data["events"][0]
    assert event["level"] == "Error" and "EFA health check failed" in event["cause"] and event["instance_id"]
    assert any(f"health trainyard --node {event['instance_id']}" in line for line in done.document["next"])
    all_of_them = manage("events", "trainyard", "--since", "7d")
    assert all_of_them.data["total"] > done.data["total"]
    times = [each["time"] for each in all_of_them.data["events"]]
    assert times == sorted(times, reverse=True)
    of_node = manage("events", "trainyard", "--node", f"hyperpod-{event['instance_id']}")
    assert {each["instance_id"] for each in of_node.data["events"]} == {event["instance_id"]}
    assert {each["group"] for each in manage("events", "trainyard", "--group", "workers").data["events"]} == {"workers"}


def test_causes_that_were_not_asked_for_are_counted(aws: Aws, manage: Manager) -> None:
    """Errors come first; where AWS asks for patience no more are asked."""
    broken(aws, 2)
    done = manage("events", "trainyard", "--details", "1")
    asked = [each for each in aws.actions() if each["action"] == "sagemaker:DescribeClusterEvent"]
    assert len(asked) == 1 and sum(bool(each["cause"]) for each in done.data["events"]) == 1
    assert done.data["causes_not_asked"] == done.data["total"] - 1 and done.check("events.causes")["status"] == "skipped"
    aws.fail("sagemaker:DescribeClusterEvent", "ThrottlingException", times=9)
    busy = manage("events", "trainyard")
    assert busy.code == 1 and busy.check("events.causes")["status"] == "unknown" and busy.data["total"] == done.data["total"]


def test_the_older_kind_has_none(aws: Aws, manage: Manager) -> None:
    """Said, with what to look at instead; no error."""
    hyperpod.make(aws, continuous=False)
    done = manage("events", "trainyard")
    assert done.code == 0 and "LifecycleConfig" in done.check("events.none")["fix"], done


@pytest.mark.parametrize("words", [("--since", "yesterday"), ("--since", "0h"), ("--node", "worker-1"), ("--level", "Loud")])
def test_wrong_words_are_refused(aws: Aws, manage: Manager, words: tuple[str, ...]) -> None:
    hyperpod.make(aws)
    assert manage("events", "trainyard", *words).code == 2


def test_a_node_of_another_cluster_is_named(aws: Aws, manage: Manager) -> None:
    hyperpod.make(aws)
    hyperpod.make(aws, "another")
    (other, *_) = hyperpod.ids(aws, "another")
    done = manage("events", "trainyard", "--node", other)
    assert done.check("events.node")["status"] == "warn" and done.data["events"] == []
    assert manage("events", "another", "--node", other).document["checks"] == [], "control"
