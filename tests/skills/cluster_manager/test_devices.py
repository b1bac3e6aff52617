"""Devices are counted as they are: whole GPUs, slices of them, shared ones, each resource of each node by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from cm_api import Api
from cm_calls import Answer, Manage
from cm_nodes import LABEL, Nodes, nodes

GPU, EFA, MIG = "nvidia.com/gpu", "vpc.amazonaws.com/efa", "nvidia.com/mig-1g.5gb"
P4D = "p4d.24xlarge"
CUT = {GPU: 4, MIG: 28, EFA: 4}
"""A p4d with four whole GPUs beside four that are cut into seven slices each."""
REPLICAS = {
    f"{GPU}.count": "8",
    f"{GPU}.replicas": "4",
    f"{GPU}.sharing-strategy": "time-slicing",
    f"{GPU}.product": "H100-SHARED",
}
Fit = Callable[..., Answer]


@pytest.fixture
def fit(manage: Manage, tmp_path: Path) -> Fit:
    def ask(made: Nodes, **job: Any) -> Answer:
        path = tmp_path / "job.yaml"
        path.write_text(yaml.safe_dump(made.job(target="eks", **job)))
        return manage("fit", str(path))

    return ask


def rows(manage: Manage, made: Nodes) -> dict[str, dict[str, Any]]:
    words = ("--node-selector", f"{LABEL}={made.label}", "--toleration", '{"operator": "Exists"}')
    answer = manage("capacity", *words)
    (group,) = answer.data["groups"]
    return {"group": group, **{each["resource"]: each for each in answer.data["devices"]}}


@pytest.mark.situation(
    "S01",
    "4 whole GPUs of a node are unhealthy, beside 28 healthy MIG slices",
    "`health` fails: each resource is judged by itself",
)
def test_healthy_slices_say_nothing_of_the_whole_gpus_beside_them(api: Api, manage: Manage) -> None:
    with nodes(api, 1, kind=P4D, holds=CUT, offers={GPU: 0}) as made:
        check = manage("health").check("gpu")
        assert check["status"] == "fail", check
        assert f"{made.names[0]} 0 of 4 {GPU}" in check["evidence"] and f"28 of 28 {MIG}" in check["summary"]
        assert made.names[0] in check["fix"]
    with nodes(api, 1, kind=P4D, holds=CUT) as whole:  # control
        assert whole.names[0] not in manage("health").check("gpu")["evidence"]


@pytest.mark.situation(
    "S02", "a node with whole GPUs and MIG slices", "`capacity` lists the slices by profile, and what is not handed out"
)
def test_slices_are_listed_by_their_profile(api: Api, manage: Manage) -> None:
    with nodes(api, 1, kind=P4D, holds=CUT, offers={GPU: 0}) as made:
        found = rows(manage, made)
        assert {key: found[MIG][key] for key in ("kind", "profile", "of", "allocatable", "free")} == {
            "kind": "slice", "profile": "1g.5gb", "of": 28, "allocatable": 28, "free": 28,
        }  # fmt: skip
        assert (found[GPU]["kind"], found[GPU]["of"], found[GPU]["free"]) == ("whole", 4, 0)
        assert (found["group"]["accelerators"], found["group"]["free_whole_nodes"]) == (0, 0)


@pytest.mark.situation(
    "S03",
    "8 GPUs that time-slicing hands out 4 times each",
    "8 shared GPUs, none free as a whole; `fit` of 8 processes says that ranks would share devices",
)
@pytest.mark.parametrize("labels", [REPLICAS, {}], ids=["labelled", "more than its type has"])
def test_a_shared_gpu_is_not_a_whole_one(api: Api, manage: Manage, fit: Fit, labels: dict[str, str]) -> None:
    with nodes(api, 1, labels=labels, holds={GPU: 32, EFA: 32}) as made:
        found = rows(manage, made)
        assert (found[GPU]["kind"], found[GPU]["devices"], found[GPU]["allocatable"]) == ("shared", 8, 32)
        assert [found["group"][key] for key in ("accelerators", "free_accelerators", "free_whole_nodes")] == [0, 0, 0]
        eight = fit(made)
        assert eight.code == 1 and any("ranks would share devices" in line for line in eight.data["missing"]), eight.data
        one = fit(made, procs_per_node=1)
        assert (one.code, one.check("fit.devices")["status"]) == (0, "warn"), "its device is shared with other pods"
        with nodes(api, 1, team=made.label) as whole:
            beside = fit(made)
            assert (beside.code, beside.data["nodes"]) == (0, whole.names)
            assert made.names[0] in beside.check("fit.devices")["evidence"], "the scheduler may choose it all the same"


def test_slices_under_the_name_of_whole_gpus_are_slices(api: Api, manage: Manage, fit: Fit) -> None:
    """MIG's strategy `single`; one GPU's seven are missing."""
    labels = {f"{GPU}.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"}
    with nodes(api, 1, labels=labels, holds={GPU: 49, EFA: 32}) as made:
        assert rows(manage, made)["group"]["free_accelerators"] == 0
        assert f"1 of 1 nodes: {GPU} is a slice of a GPU there (1g.10gb)" in fit(made).data["missing"]


@pytest.mark.situation(
    "S04",
    "a node hands its GPU out as nvidia.com/gpu.shared",
    "it shares its GPUs under another name; nothing is said of a plugin to restart",
)
def test_a_renamed_resource_is_named(api: Api, manage: Manage, fit: Fit) -> None:
    with nodes(api, 1, kind="ml.g5.8xlarge", holds={GPU: 0, f"{GPU}.shared": 4, EFA: 1}) as made:
        name = made.names[0]
        check = manage("health").check("gpu")
        assert f"{name} shares its GPUs as {GPU}.shared" in check["evidence"] and f"{name} 0 of" not in check["evidence"]
        no = fit(made, resources={"instance_type": "ml.g5.8xlarge"})
        assert no.code == 1
        assert (
            f"1 of 1 nodes: offers 0 {GPU} (its GPUs are {GPU}.shared (1 GPUs shared)), a pod asks for 1" in no.data["missing"]
        )


def test_a_node_without_its_gpus_does_not_pass_for_its_slices(api: Api, manage: Manage) -> None:
    """The type has eight: 28 slices are four of them."""
    with nodes(api, 1, kind=P4D, holds={MIG: 28, EFA: 4}) as made:
        check = manage("health").check("gpu")
        assert check["status"] in ("warn", "fail") and f"{made.names[0]} 0 of 4 {GPU}, 0 reported" in check["evidence"]


def test_chips_of_which_a_pod_holds_cores_are_not_free(api: Api, manage: Manage, namespace: str) -> None:
    with nodes(api, 1, kind="trn1.32xlarge") as made:
        made.put("cores", namespace, 0, {"cpu": "1", "aws.amazon.com/neuroncore": "3"})
        found = rows(manage, made)
        assert (found["aws.amazon.com/neuron"]["free"], found["group"]["free_accelerators"]) == (14, 14)
        assert found["group"]["free_whole_nodes"] == 0


def test_other_pods_hold_it_only_where_they_do(api: Api, fit: Fit, namespace: str) -> None:
    with nodes(api, 2, holds={GPU: 8, EFA: 32}, offers={GPU: 4}) as made:
        ill = f"offers 4 of its 8 {GPU}, a pod asks for 8"
        assert f"2 of 2 nodes: {ill}" in fit(made).data["missing"]
        made.put("busy", namespace, 0, {"cpu": "1", GPU: "4"})
        told = fit(made, procs_per_node=2).data
        assert told["fits"] and told["nodes"] == [made.names[1]]
        two = fit(made, nodes=3, procs_per_node=2).data["missing"]
        assert any(line.startswith("1 of 2 nodes: not enough") and GPU in line for line in two), two
        assert "1 of 2 nodes: too small for 4096Gi memory" not in two
        huge = fit(made, procs_per_node=2, resources={"memory": "4Ti"}).data["missing"]
        assert "2 of 2 nodes: too small for 4096Gi memory" in huge, huge


def test_all_that_speaks_against_a_node_is_told_and_what_it_could_be_helped_with_first(
    api: Api, fit: Fit, namespace: str
) -> None:
    taint = {"key": "team", "value": "other", "effect": "NoSchedule"}
    with nodes(api, 2, taints=[taint], unschedulable=True) as made, nodes(api, 1, team=made.label) as near:
        near.put("busy", namespace, 0, {"cpu": "1", GPU: "1"})
        told = fit(made).data["missing"]
        assert told[1:] == [
            f"1 of 3 nodes: not enough cpu, {GPU} left",
            "2 of 3 nodes: cordoned",
            "2 of 3 nodes: taint team=other:NoSchedule is not tolerated",
        ]


def test_labels_that_no_node_has_are_told_one_by_one(api: Api, fit: Fit) -> None:
    with nodes(api, 2) as made:
        told = fit(made, cluster={"node_selector": {LABEL: made.label, "disk": "fast"}}).data["missing"]
        assert f"each by itself: disk=fast 0, {LABEL}={made.label} 2, " in told[1], told


def test_two_pods_of_a_job_on_one_node_are_a_warning(api: Api, fit: Fit) -> None:
    with nodes(api, 1) as made:
        two = fit(made, nodes=2, procs_per_node=4)
        assert (two.code, two.check("fit.sharing")["status"]) == (0, "warn")
        assert two.check("fit.sharing")["evidence"] == f"{made.names[0]} 2 pods"
        without = fit(made, nodes=2, procs_per_node=1, resources={"instance_type": None, "cpu": "1"})
        assert without.code == 0 and not any(each["id"] == "fit.sharing" for each in without.document["checks"])
        with nodes(api, 1, team=made.label):
            apart = fit(made, nodes=2, procs_per_node=4)
            assert apart.code == 0 and not any(each["id"] == "fit.sharing" for each in apart.document["checks"])


def test_fit_answers_without_a_job_file(api: Api, manage: Manage, fit: Fit) -> None:
    with nodes(api, 2) as made:
        words = ("--node-selector", f"{LABEL}={made.label}", "--toleration", '{"key": "nvidia.com/gpu", "operator": "Exists"}')
        two = manage("fit", "--instance-type", "p5.48xlarge", "--nodes", "2", *words)
        by_file = fit(made, nodes=2)
        assert two.code == 0 and {**two.data, "missing": []} == {**by_file.data, "missing": []}
        assert manage("fit", "--instance-type", "p5.48xlarge", "--nodes", "3", *words).code == 1
        half = manage("fit", "--instance-type", "p5.48xlarge", "--nodes", "4", "--procs-per-node", "4", *words)
        assert (half.code, half.data["pod"]["gpus"]) == (0, 4)
    nothing = manage("fit")
    assert nothing.code == 2 and "--instance-type" in nothing.document["error"]["message"]


@pytest.mark.situation(
    "S17",
    "an arm64 and a Windows node; a job that names no instance type",
    "they do not count, and the pods select kubernetes.io/arch and kubernetes.io/os",
)
def test_nodes_of_another_platform_do_not_count(api: Api, fit: Fit) -> None:
    job: dict[str, Any] = {"nodes": 2, "procs_per_node": 1, "resources": {"instance_type": None}}
    with nodes(api, 1) as made, nodes(api, 1, team=made.label, labels={"kubernetes.io/arch": "arm64"}) as arm:
        with nodes(api, 1, team=made.label, labels={"kubernetes.io/os": "windows"}):
            data = fit(made, **job).data
            assert data["nodes"] == made.names * 2
            assert {"kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux"}.items() <= data["node_selector"].items()
            told = fit(made, **{**job, "resources": {"instance_type": None, "cpu": "150"}}).data["missing"]
            assert "1 of 3 nodes: label kubernetes.io/arch is not amd64 but arm64" in told, told
            assert "1 of 3 nodes: label kubernetes.io/os is not linux but windows" in told
        graviton = {"node.kubernetes.io/instance-type": "g5g.xlarge", "kubernetes.io/arch": "arm64"}
        with nodes(api, 1, kind="ml.g5.8xlarge", team=made.label, labels=graviton, holds={GPU: 1}) as small:
            of_its_type = fit(made, resources={"instance_type": "g5g.xlarge", "cpu": "1", "memory": "1Gi"}).data
            assert (of_its_type["nodes"], of_its_type["node_selector"]["kubernetes.io/arch"]) == (small.names, "arm64")
        there = {"node_selector": {LABEL: made.label, "kubernetes.io/arch": "arm64"}}
        assert fit(made, cluster=there, **job).data["nodes"] == arm.names * 2, "the job's own word counts"
