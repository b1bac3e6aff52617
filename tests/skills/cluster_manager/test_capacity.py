"""`capacity` counts what the scheduler would give out, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

from cm_api import Api, until
from cm_calls import Manage, manage_with
from cm_nodes import LABEL, TOLERATION, Nodes, nodes

from tests.components.cluster.running import Cluster

GPU = "nvidia.com/gpu"


def row(manage: Manage, made: Nodes, *words: str) -> dict[str, object]:
    answer = manage("capacity", "--node-selector", f"{LABEL}={made.label}", *words)
    assert answer.code == 0, answer.document
    (only,) = answer.data["groups"]
    return only


def test_only_what_is_schedulable_and_not_taken_is_free(api: Api, manage: Manage, namespace: str) -> None:
    with nodes(api, 4) as made:
        tolerated = ("--toleration", json.dumps(TOLERATION))
        assert row(manage, made)["free_accelerators"] == 0, "the taint is not tolerated"
        assert row(manage, made, *tolerated)["free_whole_nodes"] == 4

        made.put("half", namespace, 0, {"cpu": "0.5", "memory": "1.5Gi", GPU: "4"})
        made.put("small", namespace, 1, {"cpu": "100m", "memory": "123k"})
        done = made.put("done", namespace, 2, {"cpu": "10", GPU: "8"}, labels={"finished": "0"})
        path = f"/api/v1/namespaces/{namespace}/pods"
        until(
            lambda: any(p["status"].get("phase") == "Succeeded" for p in api.list(path)), f"{done['metadata']['name']} to end"
        )
        api.send("PATCH", f"/api/v1/nodes/{made.names[3]}", {"spec": {"unschedulable": True}}, "application/merge-patch+json")

        found = row(manage, made, *tolerated)
        assert (found["nodes"], found["schedulable"]) == (4, 3), "one is cordoned"
        assert (found["accelerators"], found["free_accelerators"]) == (32, 20), (
            "4 are taken, 8 cordoned; the finished pod holds none"
        )
        assert found["free_whole_nodes"] == 2, "a CPU pod takes no accelerator, half of a node is no node"
        assert found["free_cpu"] == "575400m"
        assert found["free_efa"] == 96


def test_without_permission_nothing_is_counted_and_the_rule_is_printed(cluster: Cluster, namespace: str) -> None:
    reader = cluster.user("no-pods", namespace, cluster_rules=[{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}])
    answer = manage_with(Path(reader))("capacity")
    check = answer.check("capacity.nodes")
    assert (answer.code, check["status"], "groups" in answer.data) == (1, "unknown", False)
    assert '{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}' in check["fix"]
