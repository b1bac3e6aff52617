"""`fit` says what the API server will say to the pods of a job: namespace, LimitRange, quota, Pod Security, the claim's own end."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cm_api import Api, until
from cm_calls import Answer, Manage, manage_with
from cm_nodes import Nodes, nodes
from fit_situations import volume_at

from tests.components.cluster.running import Cluster

Fit = Callable[..., Answer]
KEEP = "trainyard.test/keep"
"""A finalizer: what is deleted stays, as it does while somebody uses it."""


@pytest.fixture(scope="module")
def two(api: Api) -> Iterator[Nodes]:
    with nodes(api, 2) as made:
        yield made


@pytest.fixture
def fit(two: Nodes, manage: Manage, namespace: str, tmp_path: Path) -> Fit:
    """Of a job on these nodes, with 4 CPUs and 8Gi a pod where nothing else is said."""

    def call(*words: str, space: str = namespace, resources: dict[str, Any] | None = None, **changes: Any) -> Answer:
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(two.job(resources={"cpu": "4", "memory": "8Gi", **(resources or {})}, **changes)))
        return manage("fit", str(path), "-n", space, *words)

    return call


@pytest.fixture
def rule(api: Api, namespace: str) -> Callable[..., None]:
    """A LimitRange of these items, or a ResourceQuota of these amounts, in the test's namespace."""

    def make(*items: dict[str, Any], **hard: str) -> None:
        metadata = {"name": "team", "namespace": namespace}
        kind, spec = ("ResourceQuota", {"hard": hard}) if hard else ("LimitRange", {"limits": list(items)})
        api.create_all([{"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec}])

    return make


def container(**amounts: dict[str, str]) -> dict[str, Any]:
    return {"type": "Container", **amounts}


@pytest.mark.situation(
    "S07",
    "a LimitRange gives containers 500m CPU, the job asks for 4",
    "`fit` fails, names the LimitRange; `resources.limits` solves it",
)
def test_a_default_limit_below_the_request_is_a_no(fit: Fit, rule: Callable[..., None]) -> None:
    rule(container(default={"cpu": "500m"}))
    no = fit()
    check = no.check("fit.limits")
    assert (no.code, no.data["fits"], check["status"]) == (1, False, "fail")
    assert "LimitRange team: its default cpu limit of 500m is less than the 4 of container pytorch" in no.data["missing"]
    assert check["fix"] == 'in the job file resources: {limits: {cpu: "4"}}'
    assert fit(resources={"limits": {"cpu": "4"}}).data["fits"] is True
    assert fit(resources={"cpu": "400m"}).data["fits"] is True, "control: below the default"


@pytest.mark.parametrize("names", [("first", "second"), ("second", "first")])
def test_two_ranges_with_different_defaults_are_a_no_in_either_order(
    fit: Fit, api: Api, namespace: str, names: tuple[str, str]
) -> None:
    """The API server takes for each pod the default that it comes to first, in an order that changes."""
    items = container(max={"cpu": "48"}), container(default={"cpu": "500m"})
    for name, item in zip(names, items, strict=True):
        metadata = {"name": name, "namespace": namespace}
        api.create_all([{"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": [item]}}])
    no = fit()
    assert no.code == 1 and "which of 2 LimitRanges gives a pod its default" in no.check("fit.limits")["evidence"], no.document
    assert fit(resources={"limits": {"cpu": "4"}}).data["fits"] is True, "control: none of them is needed"


@pytest.mark.parametrize(
    ("item", "why", "good"),
    [
        (container(max={"memory": "4Gi"}), "at most 4Gi memory a container", {"memory": "4Gi"}),
        (container(default={"cpu": "16"}, maxLimitRequestRatio={"cpu": "2"}), "at most 2 times the request", {"cpu": "8"}),
        ({"type": "Pod", "max": {"cpu": "100"}}, "at most 100 cpu a pod", {"limits": {"cpu": "8"}}),
    ],
)
def test_what_a_limit_range_refuses_is_a_no(
    fit: Fit, rule: Callable[..., None], item: dict[str, Any], why: str, good: dict[str, Any]
) -> None:
    rule(item)
    no = fit()
    assert no.code == 1 and any(why in line for line in no.data["missing"]), no.data["missing"]
    yes = fit(resources=good)
    assert yes.data["fits"] is True, yes.data["missing"]


def test_what_the_operator_puts_in_is_judged_too(fit: Fit, rule: Callable[..., None]) -> None:
    """Workers of a PyTorchJob get a container with 50m CPU, of which a job file knows nothing."""
    rule(container(min={"cpu": "60m"}))
    assert fit(nodes=1, procs_per_node=1).data["fits"] is True
    no = fit(nodes=2, procs_per_node=1)
    assert no.code == 1 and "init-pytorch" in no.check("fit.limits")["evidence"]
    assert fit(nodes=2, procs_per_node=1, engine="trainjob").data["fits"] is True


@pytest.mark.situation("S08", "a LimitRange gives 64 CPUs as the limit, a quota allows limits of 1000", "the job fits")
def test_a_default_limit_counts_in_a_quota_on_limits(fit: Fit, rule: Callable[..., None]) -> None:
    rule(**{"limits.cpu": "1000", "services": "20"})
    bare = fit()
    assert bare.code == 1 and "limits.cpu, and container pytorch has no cpu limit" in bare.data["missing"][0]
    rule(container(default={"cpu": "64"}))
    assert fit(nodes=2).data["fits"] is True
    many = fit(nodes=16, procs_per_node=1)
    assert "quota team: 1024 limits.cpu, 1000 of 1k left" in many.data["missing"]
    assert fit(nodes=16, procs_per_node=1, resources={"limits": {"cpu": "4"}}).data["fits"] is True


@pytest.mark.situation("S11", "a quota allows no services, the job has two nodes", "`fit` fails")
def test_a_quota_on_what_is_made_beside_pods_is_a_no(fit: Fit, rule: Callable[..., None]) -> None:
    rule(**{"services": "1", "count/pytorchjobs.kubeflow.org": "1"})
    assert fit(nodes=1).data["fits"] is True
    assert fit(nodes=2).data["missing"] == ["quota team: 2 services, 1 of 1 left"]
    assert fit(nodes=2, engine="trainjob").data["fits"] is True, "control: a JobSet has one service"


@pytest.mark.situation("S09", "the namespace does not exist", "`fit` fails")
def test_a_namespace_that_is_not_there_is_a_no(fit: Fit) -> None:
    no = fit(space="none-such")
    assert (no.code, no.data["missing"]) == (1, ["namespace none-such does not exist"])


@pytest.mark.situation("S10", "the namespace is being deleted; `fit`", "`fit` fails: is being deleted")
def test_a_namespace_that_is_being_deleted_is_a_no(fit: Fit, api: Api) -> None:
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"going-{secrets.token_hex(3)}"}}
    name = space["metadata"]["name"]
    claim = claim_of("kept", name)
    claim["metadata"]["finalizers"] = [KEEP]
    api.create_all([space])
    try:
        assert fit(space=name).data["fits"] is True, "control"
        api.create_all([claim])
        api.delete_all([space])
        no = fit(space=name)
        assert no.code == 1 and f"namespace {name} is being deleted since" in no.data["missing"][0]
    finally:
        let_go(api, claim)


@pytest.mark.situation("S18", "the claim is bound, and being deleted; `fit`", "`fit` fails: is being deleted")
def test_a_claim_that_is_being_deleted_is_a_no(fit: Fit, api: Api, namespace: str) -> None:
    volume = volume_at(f"{namespace}-volume", namespace, "us-west-2a", "affinity")
    claim = claim_of("kept", namespace, storageClassName=namespace)
    claim["metadata"]["finalizers"] = [KEEP]
    api.create_all([volume, claim])
    bound = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/kept"
    until(lambda: api.send("GET", bound)[1]["status"].get("phase") == "Bound", "the claim to be bound")
    try:
        assert fit("--claim", "kept").check("fit.volume")["status"] == "pass", "control"
        api.delete_all([claim])
        no = fit("--claim", "kept")
        assert no.code == 1 and any("claim kept is being deleted since" in line for line in no.data["missing"])
    finally:
        let_go(api, claim)
        api.delete_all([volume])


def claim_of(name: str, namespace: str, **more: Any) -> dict[str, Any]:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none", **more}
    metadata: dict[str, Any] = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def let_go(api: Api, claim: dict[str, Any]) -> None:
    metadata = claim["metadata"]
    path = f"/api/v1/namespaces/{metadata['namespace']}/persistentvolumeclaims/{metadata['name']}"
    api.send("PATCH", path, {"metadata": {"finalizers": None}}, "application/merge-patch+json")


@pytest.mark.situation(
    "S30", "the namespace holds pods to PodSecurity restricted; `fit`", "`fit` fails and prints the lines of cluster.security"
)
def test_a_level_that_wants_a_user_is_a_no_with_the_lines(fit: Fit, api: Api, namespace: str) -> None:
    def enforce(level: str) -> None:
        label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}
        api.send("PATCH", f"/api/v1/namespaces/{namespace}", label, "application/merge-patch+json")

    enforce("baseline")
    assert fit(nodes=1).data["fits"] is True
    enforce("restricted")
    no = fit(nodes=1)
    check = no.check("fit.security")
    assert (no.code, check["status"]) == (1, "fail") and check["summary"] in no.data["missing"]
    lines = check["fix"].removeprefix("in the job file ").partition("}}:")[0] + "}}"
    security = yaml.safe_load(lines)["cluster"]["security"]
    assert security == {"run_as_user": 1000, "run_as_group": 1000, "fs_group": 1000}
    assert fit(nodes=1, cluster={"security": security}).data["fits"] is True
    assert fit(nodes=1, cluster={"security": {"run_as_user": 0}}).code == 1, "root"
    # The training operator's own container in workers has no security context unless its administrator gave it one.
    check = fit(nodes=2, cluster={"security": security}).check("fit.security")
    assert check["status"] == "warn" and "init-pytorch" in check["summary"] and "engine: trainjob" in check["fix"]
    assert fit(nodes=2, cluster={"security": security}, engine="trainjob").check("fit.security")["status"] == "pass"


def test_what_may_not_be_read_is_unknown_with_its_rule(cluster: Cluster, two: Nodes, namespace: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(two.job(cluster={"priority": "high"})))
    wide = [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]}]
    answer = manage_with(cluster.user("seeing", namespace, rules=[], cluster_rules=wide))("fit", str(path), "-n", namespace)
    assert (answer.code, answer.data["fits"]) == (1, None)
    for id, resource in (
        ("fit.namespace", "namespaces"),
        ("fit.security", "namespaces"),
        ("fit.limits", "limitranges"),
        ("fit.quota", "resourcequotas"),
        ("fit.priority", "priorityclasses"),
    ):
        check = answer.check(id)
        assert check["status"] == "unknown" and f'"resources": ["{resource}"]' in check["fix"], check
