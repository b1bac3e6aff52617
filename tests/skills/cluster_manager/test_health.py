"""`health`: what is ready is proven ready, what could not be looked at is unknown, and unknown is not healthy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cm_api import Api, collection, until
from cm_calls import Manage, manage_with
from cm_nodes import LABEL, TOLERATION, nodes

from tests.components.cluster.running import Cluster

ELSEWHERE = ("--ignore", "kuberay", "--ignore", "hyperpod-operator")
"""On the test cluster these run as processes and have no webhook: nothing proves them."""


def deployment(namespace: str, image: str, team: str) -> dict[str, Any]:
    labels = {"app": "operator"}
    spec = {"containers": [{"name": "main", "image": image}], "nodeSelector": {LABEL: team}, "tolerations": [TOLERATION]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "operator", "namespace": namespace},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec}},
    }


def test_devices_dns_and_operators_are_proven_by_what_they_do(manage: Manage) -> None:
    components = manage("health", *ELSEWHERE).data["components"]
    assert {components[name] for name in ("nodes", "gpu", "neuron", "dns", "training-operator", "trainer", "jobset")} == {
        "ready"
    }
    assert components["kueue"] == "absent"


def test_a_served_crd_without_an_operator_is_not_ready(manage: Manage) -> None:
    answer = manage("health")
    assert (answer.code, answer.data["healthy"], answer.data["components"]["kuberay"]) == (1, False, "unknown")
    assert "--ignore kuberay" in answer.check("kuberay")["fix"]


def test_a_deployment_with_the_operators_image_decides(api: Api, manage: Manage, namespace: str) -> None:
    with nodes(api, 1) as made:
        api.create_all([deployment(namespace, "quay.io/kuberay/operator:v1.6.1", "nowhere")])
        assert manage("health").data["components"]["kuberay"] == "installed-not-ready"
        selector = {"spec": {"template": {"spec": {"nodeSelector": {LABEL: made.label}}}}}
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/operator"
        api.send("PATCH", path, selector, "application/merge-patch+json")
        until(lambda: api.send("GET", path)[1]["status"].get("readyReplicas"), "the Deployment to be ready")
        check = manage("health").check("kuberay")
        assert check["status"] == "pass" and f"{namespace}/operator 1 of 1 ready" in check["evidence"]
        image = [
            {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "quay.io/kuberay/apiserver:v1.6.1"}
        ]
        api.send("PATCH", path, image, "application/json-patch+json")
        assert manage("health").data["components"]["kuberay"] == "unknown", "another program of the same project"


def test_a_webhook_that_does_not_answer_is_no_proof(api: Api, manage: Manage, namespace: str) -> None:
    """Only for this test's namespace: nobody else's jobs pass it."""
    webhook = {
        "name": "dead.trainyard.test",
        "clientConfig": {"url": "https://127.0.0.1:9/validate"},
        "rules": [
            {"apiGroups": ["kubeflow.org"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pytorchjobs"]}
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 2,
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    thing = {**kind, "metadata": {"name": f"dead-{namespace}"}, "webhooks": [webhook]}
    api.create_all([thing])
    try:
        answers = until(
            lambda: (found := manage("health", "-n", namespace)).data["components"]["training-operator"] != "ready" and found,
            "the API server to take up the webhook",
        )
        assert answers.data["components"]["training-operator"] == "installed-not-ready"
        assert "failed calling webhook" in answers.check("training-operator")["evidence"]
        told = answers.check("webhooks")
        assert told["status"] == "fail" and "admission webhook dead.trainyard.test does not answer" in told["summary"]
    finally:
        api.delete_all([thing])


@pytest.mark.situation(
    "S16", "an admission webhook that does not answer", "the webhook is named, by `create` and by `health`, with its service"
)
def test_a_webhook_without_a_ready_endpoint_is_named(api: Api, cluster: Cluster, manage: Manage, namespace: str) -> None:
    """Its service has an endpoint that is not ready. In nobody else's way: it covers one namespace."""
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    rules.append({"apiGroups": ["kubeflow.org"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["*"]})
    name = f"away-{namespace}"
    webhook = {
        "name": "away.trainyard.test",
        "clientConfig": {"service": {"namespace": namespace, "name": "guard"}},
        "rules": rules,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    thing = {**kind, "metadata": {"name": name}, "webhooks": [webhook]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "guard"}, "spec": {"ports": [{"port": 443}]}}
    ends = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "guard-1", "labels": {"kubernetes.io/service-name": "guard"}},
        "addressType": "IPv4",
        "ports": [{"port": 443}],
        "endpoints": [{"addresses": ["10.0.0.9"], "conditions": {"ready": False}}],
    }
    cluster.apply([service, ends], "--namespace", namespace)
    api.create_all([thing])
    try:
        check = manage("health").check("webhooks")
        assert (
            check["status"] == "fail"
            and f"away.trainyard.test (pods, pytorchjobs; service {namespace}/guard)" in check["evidence"]
        )
        assert f"kubectl -n {namespace} get" in check["fix"]
        ready = [{"op": "replace", "path": "/endpoints/0/conditions/ready", "value": True}]
        path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices/guard-1"
        api.send("PATCH", path, ready, "application/json-patch+json")
        assert manage("health").check("webhooks")["status"] == "pass", "control: only the endpoint was wrong"
        api.send("PATCH", path, [{**ready[0], "value": False}], "application/json-patch+json")
        ignore = [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]
        api.send("PATCH", f"{collection(thing)}/{name}", ignore, "application/json-patch+json")
        assert manage("health").check("webhooks")["status"] == "pass", "control: without it things are made all the same"
    finally:
        api.delete_all([thing])


def test_devices_that_are_not_handed_out_are_named(api: Api, manage: Manage) -> None:
    with nodes(api, 1) as made:
        patch = {"status": {"allocatable": {"nvidia.com/gpu": "7"}}}
        api.send("PATCH", f"/api/v1/nodes/{made.names[0]}/status", patch, "application/merge-patch+json")
        check = manage("health").check("gpu")
        assert check["status"] == "warn" and f"{made.names[0]} 7 of 8" in check["evidence"]


def test_what_hyperpod_and_the_node_agent_say_is_told(api: Api, manage: Manage) -> None:
    with nodes(api, 1) as made:
        prefix = "sagemaker.amazonaws.com/"
        labels = {
            f"{prefix}node-health-status": "UnschedulablePendingReplacement",
            f"{prefix}fault-types": "NvidiaError",
            f"{prefix}fault-reasons": "XID_79",
        }
        api.send("PATCH", f"/api/v1/nodes/{made.names[0]}", {"metadata": {"labels": labels}}, "application/merge-patch+json")
        condition = {"type": "AcceleratedHardwareReady", "status": "False", "reason": "NvidiaXID79Error"}
        patch = {"status": {"conditions": [condition]}}
        api.send("PATCH", f"/api/v1/nodes/{made.names[0]}/status", patch, "application/strategic-merge-patch+json")
        answer = manage("health")
        assert (
            "node-health-status: UnschedulablePendingReplacement, fault-types: NvidiaError, fault-reasons: XID_79"
            in answer.check("nodes.hyperpod")["evidence"]
        )
        assert "AcceleratedHardwareReady is False (NvidiaXID79Error)" in answer.check("nodes.conditions")["evidence"]


def test_a_storage_class_without_its_driver_is_a_failure(api: Api, manage: Manage, namespace: str) -> None:
    driver = f"{namespace}.csi.trainyard.test"
    kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass"}
    class_ = {**kind, "metadata": {"name": namespace}, "provisioner": driver}
    api.create_all([class_])
    try:
        assert manage("health").check(f"csi.{driver}")["status"] == "fail"
    finally:
        api.delete_all([class_])


def test_a_driver_that_some_nodes_lack_is_a_warning(api: Api, manage: Manage, namespace: str) -> None:
    name, kind = f"{namespace}.csi.trainyard.test", {"apiVersion": "storage.k8s.io/v1"}
    driver = {**kind, "kind": "CSIDriver", "metadata": {"name": name}, "spec": {"attachRequired": False}}
    drivers = [{"name": name, "nodeID": "a", "topologyKeys": []}]
    nodes = [
        {**kind, "kind": "CSINode", "metadata": {"name": f"{namespace}-{end}"}, "spec": {"drivers": each}}
        for end, each in (("with", drivers), ("without", []))
    ]
    api.create_all([driver, *nodes])
    try:
        check = manage("health").check(f"csi.{name}")
        assert (check["status"], "registered on 1 of" in check["summary"]) == ("warn", True)
    finally:
        api.delete_all([driver, *nodes])


def test_each_component_can_be_left_out_and_says_so(manage: Manage) -> None:
    names = [name for name in manage("health").data["components"] if "." not in name]
    answer = manage("health", *[word for name in names for word in ("--ignore", name)])
    assert answer.data["components"] == {} and {check["status"] for check in answer.document["checks"]} == {"skipped"}


def test_what_is_required_must_be_there(manage: Manage) -> None:
    answer = manage("health", *ELSEWHERE, "--require", "kueue")
    assert (answer.code, answer.check("kueue")["status"]) == (1, "fail")


def test_a_user_without_cluster_wide_reads_gets_unknown_and_the_rules(cluster: Cluster, namespace: str) -> None:
    """The seeds' check said healthy when every question had raised."""
    answer = manage_with(Path(cluster.user("nobody", namespace)))("health", "-n", namespace)
    assert (answer.code, answer.data["healthy"]) == (1, False)
    assert {answer.data["components"][name] for name in ("nodes", "gpu", "efa", "neuron", "dns", "csi")} == {"unknown"}
    assert "this rule allows it" in answer.check("gpu")["fix"] and '["nodes"]' in answer.check("gpu")["fix"]
    assert not [check for check in answer.document["checks"] if check["status"] == "pass"]


@pytest.mark.parametrize("verb", ["health", "capacity"])
def test_no_api_server_is_an_error_and_not_a_verdict(verb: str, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "config"
    server = {"name": "c", "cluster": {"server": "https://127.0.0.1:9"}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    kubeconfig.write_text(
        f'{{"apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{server}], "contexts": [{context}], '
        '"users": [{"name": "u", "user": {"token": "t"}}]}'.replace("'", '"')
    )
    answer = manage_with(kubeconfig)(verb)
    assert (answer.code, answer.document["error"]["code"], answer.data) == (8, "unreachable", {})
