"""A job without room now fits where the scheduler puts others out for it, and is taken where an autoscaler may add nodes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cm_api import Api, until
from cm_calls import Answer, Manage, manage_with
from cm_nodes import LABEL, TAINT, Nodes, nodes

from tests.components.cluster.running import Cluster

Fit = Callable[..., Answer]
GPU = "nvidia.com/gpu"
POOLS = "/apis/karpenter.sh/v1/nodepools"
STATUS = "/api/v1/namespaces/kube-system/configmaps"


@pytest.fixture
def fit(manage: Manage, namespace: str, tmp_path: Path) -> Fit:
    def call(job: dict[str, Any], manage: Manage = manage) -> Answer:
        (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
        return manage("fit", str(tmp_path / "job.yaml"), "-n", namespace)

    return call


@pytest.fixture
def classes(api: Api) -> Iterator[Callable[..., str]]:
    made: list[dict[str, Any]] = []

    def make(value: int, **more: Any) -> str:
        name = f"test-{secrets.token_hex(4)}"
        made.append(
            {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": value, **more}
        )
        api.create_all(made[-1:])
        return name

    yield make
    api.delete_all(made)


@pytest.mark.situation(
    "S36",
    "the cluster is full, the job has a PriorityClass above the others",
    "`fit` says that it fits by preemption, and whom it puts out",
)
def test_a_job_of_a_higher_priority_fits_and_says_whom_it_puts_out(
    fit: Fit, api: Api, classes: Callable[..., str], namespace: str
) -> None:
    low, high = classes(-5), classes(1000)
    never = classes(1000, preemptionPolicy="Never")
    with nodes(api, 2) as made:
        held = {"cpu": "1", GPU: "8"}
        made.put("cheap", namespace, 0, held)
        made.put("cheaper", namespace, 1, held, spec={"priorityClassName": low})
        job = made.job(cluster={"priority": high})
        yes = fit(job)
        check = yes.check("fit.nodes")
        assert (yes.code, yes.data["fits"], yes.data["preempts"]) == (0, True, [f"{namespace}/cheaper"]), check
        assert (
            check["status"] == "warn"
            and f"{namespace}/cheaper (-5)" in check["evidence"]
            and yes.data["nodes"] == [made.names[1]]
        )
        both = fit({**job, "nodes": 2})
        assert both.data["preempts"] == [f"{namespace}/cheap", f"{namespace}/cheaper"] and len(both.data["nodes"]) == 2
        # a job without a class has priority 0, and puts out what has less
        assert fit(made.job()).data["preempts"] == [f"{namespace}/cheaper"]
        for refused in (made.job(nodes=2), made.job(cluster={"priority": never}), made.job(cluster={"priority": low})):
            no = fit(refused)
            assert (no.code, "preempts" in no.data) == (1, False), no.document
        assert any("not enough" in line and GPU in line for line in no.data["missing"])
        missing = fit(made.job(cluster={"priority": "none-such"}))
        assert missing.code == 1 and "no PriorityClass none-such" in missing.data["missing"]


# --- clusters that grow ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def karpenter(api: Api) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes NodePools; Karpenter itself does not run, so nothing comes of them. Their nodes have a label of their own."""
    names = {"kind": "NodePool", "listKind": "NodePoolList", "plural": "nodepools", "singular": "nodepool"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    crd = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "nodepools.karpenter.sh"},
        "spec": {"group": "karpenter.sh", "scope": "Cluster", "names": names, "versions": [version]},
    }
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    assert api.send("POST", definitions, crd)[0] == 201
    until(lambda: api.raw("GET", POOLS)[0] == 200, "NodePools to be served")
    until(lambda: api.raw("GET", "/apis/karpenter.sh")[0] == 200, "their group to be told of")

    def make(
        label: str, requirements: tuple[dict[str, Any], ...] = (), taints: tuple[Any, ...] = (TAINT,), **spec: Any
    ) -> dict[str, Any]:
        types = {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["p5.48xlarge", "g6.48xlarge"]}
        template = {
            "metadata": {"labels": {LABEL: label}},
            "spec": {"requirements": [types, *requirements], "taints": list(taints)},
        }
        metadata = {"name": f"pool-{secrets.token_hex(3)}"}
        pool = {
            "apiVersion": "karpenter.sh/v1",
            "kind": "NodePool",
            "metadata": metadata,
            "spec": {"template": template, **spec},
        }
        assert api.send("POST", POOLS, pool)[0] == 201
        return pool

    yield make
    api.send("DELETE", f"{definitions}/nodepools.karpenter.sh")
    until(lambda: api.raw("GET", POOLS)[0] == 404, "NodePools to be gone")


def empty(label: str, **changes: Any) -> dict[str, Any]:
    """A job for nodes that are not there."""
    return {**Nodes(None, label, []).job(target="eks", resources={"instance_type": "p5.48xlarge"}), "nodes": 2, **changes}  # type: ignore[arg-type]


@pytest.mark.situation(
    "S39", "no node fits now, a NodePool of Karpenter would add some", "a warning: it may add nodes; the job is submitted"
)
def test_a_pool_that_would_make_such_nodes_is_a_warning(fit: Fit, karpenter: Callable[..., dict[str, Any]]) -> None:
    label = secrets.token_hex(4)
    assert fit(empty(label)).code == 1, "control: no pool gives these nodes' label"
    name = karpenter(label)["metadata"]["name"]
    grows = fit(empty(label))
    check = grows.check("fit.nodes")
    assert (grows.code, grows.data["fits"], check["status"]) == (0, True, "warn"), grows.document
    assert f"NodePool {name}" in check["summary"] and grows.data["waits_for"] == [f"Karpenter's NodePool {name}"]
    assert (grows.data["nodes"], grows.data["zone"]) == ([], None)


@pytest.mark.parametrize(
    ("pool", "job", "why"),
    [
        (
            {"requirements": ({"key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["g6"]},)},
            {},
            "it makes no p5.48xlarge",
        ),
        (
            {"requirements": ({"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-west-2b"]},)},
            {"zone": "us-west-2a"},
            "never have",
        ),
        ({"limits": {"nvidia.com/gpu": "8"}}, {}, "limit of 8 nvidia.com/gpu leaves 8, 16 are needed"),
        (
            {"taints": ({"key": "team", "value": "other", "effect": "NoSchedule"},)},
            {},
            "its taint team:NoSchedule is not tolerated",
        ),
        ({"replicas": 0}, {}, "has a fixed number of nodes"),
        ({}, {"cpu": "400"}, "an empty p5.48xlarge has too little room"),
    ],
)
def test_a_pool_that_would_not_is_told_with_its_reason(
    fit: Fit, karpenter: Callable[..., dict[str, Any]], pool: dict[str, Any], job: dict[str, str], why: str
) -> None:
    label = secrets.token_hex(4)
    karpenter(label, **pool)
    asked = empty(label)
    if "zone" in job:
        asked["cluster"]["node_selector"]["topology.kubernetes.io/zone"] = job["zone"]
    if "cpu" in job:
        asked["resources"]["cpu"] = job["cpu"]
    no = fit(asked)
    assert no.code == 1 and why in no.check("fit.nodes")["evidence"], no.document


def test_pools_that_may_not_be_read_leave_it_open(
    fit: Fit, karpenter: Callable[..., dict[str, Any]], cluster: Cluster, namespace: str
) -> None:
    wide = [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]}]
    seeing = manage_with(Path(cluster.user("seeing", namespace, rules=[], cluster_rules=wide)))
    check = fit(empty("none"), manage=seeing).check("fit.nodes")
    assert check["status"] == "unknown" and '"resources": ["nodepools"]' in check["fix"]


GROUPS = {
    "since 1.30": """time: 2026-03-01 10:00:00.0 +0000 UTC
autoscalerStatus: Running
clusterWide: {health: {status: Healthy}}
nodeGroups:
- name: eks-GROUP-1c2d
  health: {status: HEALTH, nodeCounts: {registered: {total: 0}}, cloudProviderTarget: TARGET, minSize: 0, maxSize: 4}
  scaleUp: {status: NoActivity}
""",
    "before": """Cluster-autoscaler status at 2023-11-24 04:28:19.546750398 +0000 UTC:
Cluster-wide:
  Health:      Healthy (ready=5 unready=0 notStarted=0 registered=5 longUnregistered=0)
NodeGroups:
  Name:        eks-GROUP-1c2d
  Health:      HEALTH (ready=TARGET unready=0 registered=TARGET longUnregistered=0 cloudProviderTarget=TARGET (minSize=0, maxSize=4))
               LastProbeTime:      2023-11-24 04:28:19 +0000 UTC
  ScaleUp:     NoActivity (ready=TARGET cloudProviderTarget=TARGET)
""",
}


@pytest.fixture
def status(api: Api) -> Iterator[Callable[..., None]]:
    """Cluster Autoscaler's word about one node group."""
    name = "cluster-autoscaler-status"

    def write(form: str, group: str, target: int = 0, health: str = "Healthy") -> None:
        text = GROUPS[form].replace("GROUP", group).replace("TARGET", str(target)).replace("HEALTH", health)
        map_ = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "kube-system"},
            "data": {"status": text},
        }
        api.send("DELETE", f"{STATUS}/{name}")
        assert api.send("POST", STATUS, map_)[0] == 201

    yield write
    api.send("DELETE", f"{STATUS}/{name}")


@pytest.mark.situation(
    "S39", "no node fits now, a node group of Cluster Autoscaler may grow", "a warning: it may add nodes; the job is submitted"
)
@pytest.mark.parametrize("form", GROUPS)
def test_a_node_group_that_may_grow_is_a_warning(fit: Fit, status: Callable[..., None], form: str) -> None:
    job = empty("none")
    assert fit(job).code == 1, "control"
    status(form, "gpu", target=2)
    grows = fit(job)
    assert (grows.code, grows.check("fit.nodes")["status"]) == (0, "warn"), grows.document
    assert grows.data["waits_for"] == ["Cluster Autoscaler's node group eks-gpu-1c2d (up to 2 nodes more)"]
    assert "2 nodes more have room for 2 of 3 pods" in fit({**job, "nodes": 3}).check("fit.nodes")["evidence"]
    status(form, "gpu", target=4)
    assert "has as many nodes as it may have" in fit(job).check("fit.nodes")["evidence"]
    status(form, "gpu", health="Unhealthy")
    assert "is not healthy" in fit(job).check("fit.nodes")["evidence"]


def test_what_a_groups_nodes_are_is_told_by_one_that_is_there(
    fit: Fit, api: Api, status: Callable[..., None], namespace: str
) -> None:
    with nodes(api, 1, labels={"eks.amazonaws.com/nodegroup": "gpu"}) as made:
        made.put("busy", namespace, 0, {"cpu": "1", GPU: "8"})
        status("since 1.30", "gpu", target=1)
        like_it = fit(made.job())
        assert like_it.data.get("waits_for"), f"an empty one like it has room: {like_it.document}"
        other = fit(made.job(cluster={"tolerations": []}))
        assert other.code == 1 and "its nodes: taint" in other.check("fit.nodes")["evidence"]
