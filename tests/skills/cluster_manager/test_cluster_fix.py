"""`fix` plans first, does one named thing, and refuses what it does not suit."""

from __future__ import annotations

from typing import Any

from cm_api import Api, until
from cm_calls import Manage
from cm_nodes import nodes


def is_cordoned(api: Api, name: str) -> bool:
    return bool(api.send("GET", f"/api/v1/nodes/{name}")[1]["spec"].get("unschedulable"))


def test_a_node_is_uncordoned_only_when_agreed_to(api: Api, manage: Manage) -> None:
    with nodes(api, 1, unschedulable=True) as made:
        name = made.names[0]
        plan = manage("fix", "uncordon", name)
        assert (plan.code, plan.data["node"], is_cordoned(api, name)) == (6, name, True)
        dry = manage("fix", "uncordon", name, "--dry-run", "--yes")
        assert (dry.code, dry.document["changed"], is_cordoned(api, name)) == (0, [], True)
        done = manage("fix", "uncordon", name, "--yes")
        assert (done.code, done.document["changed"], is_cordoned(api, name)) == (0, [f"uncordoned node {name}"], False)
        again = manage("fix", "uncordon", name, "--yes")
        assert (again.code, again.document["changed"]) == (0, [])


def test_a_node_that_hyperpod_replaces_is_left_alone(api: Api, manage: Manage) -> None:
    with nodes(api, 1, unschedulable=True) as made:
        labels = {"sagemaker.amazonaws.com/node-health-status": "UnschedulablePendingReplacement"}
        path = f"/api/v1/nodes/{made.names[0]}"
        api.send("PATCH", path, {"metadata": {"labels": labels}}, "application/merge-patch+json")
        answer = manage("fix", "uncordon", made.names[0], "--yes")
        assert (answer.code, is_cordoned(api, made.names[0])) == (5, True)


def test_only_a_plugins_pod_that_does_not_run_is_deleted(api: Api, manage: Manage, namespace: str) -> None:
    with nodes(api, 1) as made:
        path = f"/api/v1/namespaces/{namespace}/pods"
        made.put("mine", namespace, 0, {"cpu": "1"})
        assert manage("fix", "delete-plugin-pod", "mine", "-n", namespace, "--yes").code == 5

        api.create_all([plugin(namespace)])
        (pod,) = until(lambda: [each for each in api.list(path) if each["metadata"]["name"] != "mine"], "the plugin's pod")
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        plan = manage("fix", "delete-plugin-pod", name, "-n", namespace)
        assert (plan.code, plan.data["uid"]) == (6, uid)
        done = manage("fix", "delete-plugin-pod", name, "-n", namespace, "--yes")
        assert (done.code, done.document["changed"]) == (0, [f"deleted pod {namespace}/{name}"])
        until(lambda: api.send("GET", f"{path}/{name}")[1].get("metadata", {}).get("uid") != uid, "the pod to go")
        assert api.send("GET", f"{path}/mine")[0] == 200


def test_a_name_that_is_not_there_is_not_found(manage: Manage) -> None:
    assert manage("fix", "uncordon", "no-such-node", "--yes").code == 3
    assert manage("fix", "delete-plugin-pod", "no-such-pod", "--yes").code == 3


def plugin(namespace: str) -> dict[str, Any]:
    """On the real node, where its image cannot be pulled: it never gets ready."""
    labels = {"app": "plugin"}
    container = {"name": "main", "image": "nvcr.io.invalid/nvidia/k8s-device-plugin:v0", "imagePullPolicy": "Never"}
    on_real = {"containers": [container], "nodeSelector": {"type": "real"}, "terminationGracePeriodSeconds": 0}
    template = {"metadata": {"labels": labels}, "spec": on_real}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "plugin", "namespace": namespace}, "spec": spec}
