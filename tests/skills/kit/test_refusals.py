"""trainyard_denials.py: what the real API server says when it refuses, told by its cause; only a missing right gets a Role rule."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_denials import denial_of

from tests.components.cluster.running import Cluster

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
POLICY = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolic"
HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


def pod(name: str = "probe", **spec: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "none", "resources": spec.pop("resources", {})}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


def refused(api: kube.Cluster, body: dict[str, Any]) -> kube.ApiError:
    with pytest.raises(kube.ApiError) as caught:
        api.create(api.namespaced("v1", "pods"), body, dry_run=True)
    return caught.value


def until_refused(api: kube.Cluster, body: dict[str, Any], cause: str) -> kube.ApiError:
    """The API server takes up policies and webhooks within a second or so."""
    deadline = time.monotonic() + 30
    while True:
        try:
            api.create(api.namespaced("v1", "pods"), body, dry_run=True)
        except kube.ApiError as error:
            if error.cause == cause or time.monotonic() > deadline:
                return error
        assert time.monotonic() < deadline, "nothing refused it"
        time.sleep(0.1)


def told(error: kube.ApiError, cause: str, code: str, *words: str) -> None:
    assert (error.cause, error.code) == (cause, code), str(error)
    assert all(word in f"{error}\n{error.hint}" for word in words), f"{error}\n{error.hint}"
    assert ('"apiGroups"' in error.hint) == (cause == "rbac"), "only a missing right gets a Role rule"


def test_what_the_namespace_does_not_allow_is_told_by_its_cause(api: kube.Cluster) -> None:
    assert api.create(api.namespaced("v1", "pods"), pod(), dry_run=True), "control: without these nothing stands in the way"
    told(refused(api, pod(serviceAccountName="none")), "service-account", "usage", "none")
    told(refused(api, pod(priorityClassName="none")), "priority", "usage", "none")
    limits = {"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}, "metadata": {"name": "small"}}
    made = api.create(api.namespaced("v1", "limitranges"), limits)
    error = until_refused(api, pod(resources={"limits": {"cpu": "2"}}), "limit-range")
    told(error, "limit-range", "usage", "maximum cpu usage per Container is 1", "LimitRange")
    api.delete(api.namespaced("v1", "limitranges", "small"), made["metadata"]["uid"])
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"pods": "0"}}}
    api.create(api.namespaced("v1", "resourcequotas"), quota)
    told(until_refused(api, pod(), "quota"), "quota", "conflict", "exceeded quota: full")


def test_a_quota_on_limits_says_what_every_pod_must_have(api: kube.Cluster) -> None:
    api.create(
        api.namespaced("v1", "resourcequotas"), {"metadata": {"name": "limits"}, "spec": {"hard": {"limits.memory": "1Gi"}}}
    )
    told(until_refused(api, pod(), "quota-needs"), "quota-needs", "usage", "must specify limits.memory", "resources.limits")


def test_pods_below_the_namespaces_level_are_no_missing_right(api: kube.Cluster) -> None:
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    api.patch(f"/api/v1/namespaces/{api.namespace}", label)
    error = until_refused(api, pod(), "pod-security")
    told(error, "pod-security", "usage", "restricted", "cluster.security", "allowPrivilegeEscalation")


@pytest.mark.situation("S10", "a namespace that is being deleted", "exit 5: the namespace is being deleted; no Role rule")
def test_a_namespace_that_is_being_deleted_takes_nothing_new(api: kube.Cluster) -> None:
    held = {"metadata": {"name": "held", "finalizers": ["trainyard.test/held"]}}
    path = api.namespaced("v1", "configmaps")
    api.create(path, held)
    namespace = api.get(f"/api/v1/namespaces/{api.namespace}")
    api.delete(f"/api/v1/namespaces/{api.namespace}", namespace["metadata"]["uid"])
    try:
        error = until_refused(api, pod(), "terminating")
        told(error, "terminating", "conflict", f"namespace {api.namespace} is being deleted")
        assert shell.EXIT_CODES[error.code] == 5
    finally:
        api.patch(f"{path}/held", {"metadata": {"finalizers": []}})


@pytest.fixture
def policy(api: kube.Cluster) -> Iterator[str]:
    """A ValidatingAdmissionPolicy for this namespace alone that takes no pod called `no`."""
    name = f"no-{api.namespace}"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    here = {"matchLabels": {"kubernetes.io/metadata.name": api.namespace}}
    spec = {
        "matchConstraints": {"resourceRules": rules, "namespaceSelector": here},
        "validations": [{"expression": "object.metadata.name != 'no'", "message": "not that name"}],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    made = [
        (f"{POLICY}ies", api.create(f"{POLICY}ies", {"metadata": {"name": name}, "spec": spec})),
        (f"{POLICY}ybindings", api.create(f"{POLICY}ybindings", {"metadata": {"name": name}, "spec": binding})),
    ]
    yield name
    for path, thing in reversed(made):
        api.delete(f"{path}/{name}", thing["metadata"]["uid"])


def test_a_policy_of_the_cluster_is_named(api: kube.Cluster, policy: str) -> None:
    told(until_refused(api, pod("no"), "policy"), "policy", "usage", "not that name", policy)
    assert api.create(api.namespaced("v1", "pods"), pod("yes"), dry_run=True)


def webhook(namespace: str, **where: Any) -> dict[str, Any]:
    """For this namespace's pods alone."""
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    hook = {
        "name": f"{namespace}.trainyard.test",
        "clientConfig": where,
        "rules": rules,
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    return {"metadata": {"name": f"hook-{namespace}"}, "webhooks": [hook]}


@pytest.mark.parametrize(
    "where",
    [{"url": "https://127.0.0.1:9/"}, {"service": {"namespace": "default", "name": "no-such-service"}}],
    ids=["address", "service"],
)
def test_a_webhook_that_does_not_answer_is_named(api: kube.Cluster, where: dict[str, Any]) -> None:
    made = api.create(HOOKS, webhook(api.namespace, **where))
    try:
        error = until_refused(api, pod(), "webhook-away")
        told(error, "webhook-away", "unreachable", f"webhook {api.namespace}.trainyard.test does not answer", "health")
    finally:
        api.delete(f"{HOOKS}/hook-{api.namespace}", made["metadata"]["uid"])


def test_a_missing_right_gets_its_rule(api: kube.Cluster, cluster: Cluster, use: Callable[[Path], None]) -> None:
    use(cluster.user("nobody", api.namespace))
    error = refused(kube.connect(kube.Where()), pod())
    told(error, "rbac", "permission", '"pods"', '"create"')
    assert kube.unknown("x", error).fix == f"this rule allows it: {json.dumps(error.rule)}"
    with pytest.raises(kube.ApiError) as caught:
        kube.connect(kube.Where()).get("/metrics")
    assert caught.value.cause == "rbac"


USER = 'pods "a" is forbidden: User "system:node:n" cannot delete resource "pods" in API group "" in the namespace "m"'


@pytest.mark.parametrize(
    ("status", "message", "cause", "code"),
    [
        (403, 'pods "a" is forbidden: node "n" can only delete pods with spec.nodeName set to itself', "node", "permission"),
        (403, USER, "node", "permission"),
        (403, 'admission webhook "a.b" denied the request: User "x" cannot create resource "pods"', "webhook-denied", "usage"),
        (400, 'admission webhook "a.b" denied the request: exceeded quota: x', "webhook-denied", "usage"),
        (403, 'users "x" is forbidden: User "y" cannot impersonate resource "users" in API group ""', "impersonation", "permission"),
        (403, 'pods "a" is forbidden: something that nobody has seen yet', "admission", "permission"),
        (403, "HTTP 403", "proxy", "permission"),
        (500, 'Internal error occurred: failed calling webhook "a.b": failed to call webhook: Post "https://s.n.svc:443/x?timeout=10s": no endpoints available for service "s"', "webhook-away", "unreachable"),
        (500, "conversion webhook for ray.io/v1, Kind=RayCluster failed: Post \"https://s.n.svc:443/convert?timeout=30s\": EOF", "conversion-away", "unreachable"),
        (503, "the server is currently unable to handle the request", "api-away", "unreachable"),
        (504, "Timeout: request did not complete within the allotted timeout", "slow", "unreachable"),
    ],
)  # fmt: skip
def test_refusals_that_the_test_cluster_does_not_give(status: int, message: str, cause: str, code: str) -> None:
    """As kube-apiserver 1.30 to 1.35 writes them; text of a webhook never decides what the refusal is about."""
    denial = denial_of(status, message)
    assert denial is not None and (denial.cause, denial.code) == (cause, code), denial
    assert '"apiGroups"' not in denial.hint and "{" not in denial.hint
    if "s.n.svc" in message:
        assert "kubectl -n n get endpointslices -l kubernetes.io/service-name=s" in denial.hint


def test_what_only_has_a_number_has_no_cause() -> None:
    assert denial_of(404, 'pods "a" not found') is None and denial_of(500, "etcd is busy") is None
